//! Links: tiny objects that hold a digest.

use std::time::SystemTime;

use bytes::Bytes;
use registry_oci::Digest;

use super::{Error, Registry};
use crate::storage::layout::Place;
use crate::storage::{self, Durability, Mode, StorageKey};

/// Longer than any digest; a link of more bytes is none.
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
    /// The digest a link holds. A link that is missing, or was emptied by an old server's crash, or holds
    /// something else, holds none: whatever pushes the content again writes it anew.
    pub(super) async fn read_link(&self, place: &Place) -> Result<Option<Digest>, Error> {
        Ok(self.read_raw_link(place).await?.and_then(|link| link.target))
    }

    /// The digest a link holds and its bytes, or nothing when there is no link at all.
    pub(super) async fn read_raw_link(&self, place: &Place) -> Result<Option<RawLink>, Error> {
        let key = place.key();
        let bytes = match self.driver.get(&key, LINK_MAX).await {
            Ok(bytes) => bytes,
            Err(storage::Error::TooLarge { .. }) => Bytes::new(),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => return Err(Error::storage("read a link")(source)),
        };
        let target = self.link_in(&key, &bytes);
        Ok(Some(RawLink { target, bytes }))
    }

    /// The digest a link holds and when it was written, or nothing when there is no link at all.
    pub(super) async fn read_dated_link(&self, place: &Place) -> Result<Option<DatedLink>, Error> {
        let found = self.inspect_link(place).await?;
        if found.is_some_and(|link| link.target.is_none()) {
            self.warn_broken_link(&place.key());
        }
        Ok(found)
    }

    /// As [`Registry::read_dated_link`], for those who say themselves what is broken.
    pub(super) async fn inspect_link(&self, place: &Place) -> Result<Option<DatedLink>, Error> {
        let key = place.key();
        let failed = Error::storage("read a link");
        match self.driver.get_dated(&key, LINK_MAX).await {
            Ok((bytes, found)) => Ok(Some(DatedLink {
                target: parse(&bytes),
                modified: found.modified,
            })),
            // Whatever it is, it is no link.
            Err(storage::Error::TooLarge { .. }) => {
                let found = self.driver.look(&key).await.map_err(failed)?;
                Ok(found.map(|found| DatedLink {
                    target: None,
                    modified: found.modified,
                }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    /// The digest in a link's bytes. One that has none is said.
    fn link_in(&self, key: &StorageKey, bytes: &[u8]) -> Option<Digest> {
        let digest = parse(bytes);
        if digest.is_none() {
            self.warn_broken_link(key);
        }
        digest
    }

    /// Once: whoever asks for it again would fill the log.
    fn warn_broken_link(&self, key: &StorageKey) {
        if self.warn_once.is_first(key) {
            tracing::warn!(%key, "a link holds no digest and counts as missing");
        }
    }

    /// Writes a link, durably.
    pub(super) async fn write_link(&self, place: &Place, digest: &Digest) -> Result<(), Error> {
        let bytes = Bytes::from(digest.to_string());
        self.driver
            .put(&place.key(), bytes, Mode::Replace, Durability::PowerLoss)
            .await
            .map_err(Error::storage("write a link"))
    }
}

/// The digest in a link's bytes, if that is what they are.
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
