//! Links: small objects that hold a digest.

use std::time::SystemTime;

use bytes::Bytes;
use registry_oci::Digest;

use super::{Error, Registry};
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Durability, Mode, StorageKey};

/// Longer than any digest. An object with more bytes is no link.
const LINK_MAX: u64 = 1024;

/// A link as it is stored.
pub(super) struct RawLink {
    /// The digest that it holds; nothing when it holds something else.
    pub(super) target: Option<Digest>,
    pub(super) bytes: Bytes,
}

/// A link and when it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatedLink {
    /// The digest that it holds; nothing when it holds something else.
    pub(super) target: Option<Digest>,
    pub(super) modified: SystemTime,
}

impl Registry {
    /// The digest that a link holds. A link that is missing, that a crash of an old server emptied, or that holds
    /// something else, holds none: the next push of the content writes it again.
    pub(super) async fn read_link(&self, path: &ObjectPath) -> Result<Option<Digest>, Error> {
        Ok(self.read_raw_link(path).await?.and_then(|link| link.target))
    }

    /// A link with its bytes, or nothing when there is no link.
    pub(super) async fn read_raw_link(&self, path: &ObjectPath) -> Result<Option<RawLink>, Error> {
        let key = path.key();
        let bytes = match self.driver.get(&key, LINK_MAX).await {
            Ok(bytes) => bytes,
            Err(storage::Error::TooLarge { .. }) => Bytes::new(),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => return Err(Error::storage("read a link")(source)),
        };
        let target = self.link_in(&key, &bytes);
        Ok(Some(RawLink { target, bytes }))
    }

    /// A link and when it was written, or nothing when there is no link.
    pub(super) async fn read_dated_link(&self, path: &ObjectPath) -> Result<Option<DatedLink>, Error> {
        let found = self.inspect_link(path).await?;
        if found.is_some_and(|link| link.target.is_none()) {
            self.warn_broken_link(&path.key());
        }
        Ok(found)
    }

    /// The same as [`Registry::read_dated_link`] without a log line, for callers that report broken links themselves.
    pub(super) async fn inspect_link(&self, path: &ObjectPath) -> Result<Option<DatedLink>, Error> {
        let key = path.key();
        let failed = Error::storage("read a link");
        match self.driver.get_dated(&key, LINK_MAX).await {
            Ok((bytes, found)) => Ok(Some(DatedLink {
                target: parse(&bytes),
                modified: found.modified,
            })),
            // An object of this size is no link.
            Err(storage::Error::TooLarge { .. }) => {
                let found = self.driver.try_stat(&key).await.map_err(failed)?;
                Ok(found.map(|found| DatedLink {
                    target: None,
                    modified: found.modified,
                }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    /// The digest in the bytes of a link. Logs a link that holds none.
    fn link_in(&self, key: &StorageKey, bytes: &[u8]) -> Option<Digest> {
        let digest = parse(bytes);
        if digest.is_none() {
            self.warn_broken_link(key);
        }
        digest
    }

    /// Logs a broken link once. A client that asks for it again must not fill the log.
    fn warn_broken_link(&self, key: &StorageKey) {
        if self.warn_once.is_first(key) {
            tracing::warn!(%key, "a link holds no digest and counts as missing");
        }
    }

    /// Writes a link, durably.
    pub(super) async fn write_link(&self, path: &ObjectPath, digest: &Digest) -> Result<(), Error> {
        let bytes = Bytes::from(digest.to_string());
        self.driver
            .put(&path.key(), bytes, Mode::Replace, Durability::PowerLoss)
            .await
            .map_err(Error::storage("write a link"))
    }
}

/// The digest in the bytes of a link, if they are one.
fn parse(bytes: &[u8]) -> Option<Digest> {
    let text = std::str::from_utf8(bytes).ok()?;
    Digest::parse(text.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_mutated_link_panics_and_what_is_read_is_what_it_says(bytes in registry_mutation::mutated(&[
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
            "",
        ])) {
            if let Some(digest) = parse(&bytes) {
                prop_assert_eq!(digest.to_string().into_bytes(), bytes.trim_ascii());
            }
        }
    }
}
