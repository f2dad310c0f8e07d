//! Links: tiny objects that hold a digest.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use registry_oci::Digest;

use super::{Error, Registry};
use crate::storage::layout::Place;
use crate::storage::{Durability, Mode, ReadRange};

/// Longer than any digest; a link of more bytes is none.
const LINK_MAX: u64 = 1024;

impl Registry {
    /// The digest a link holds. A link that is missing, or was emptied by an old server's crash, or holds
    /// something else, holds none: whatever pushes the content again writes it anew.
    pub(super) async fn read_link(&self, place: &Place) -> Result<Option<Digest>, Error> {
        Ok(self.read_dated_link(place).await?.and_then(|(digest, _)| digest))
    }

    /// The digest a link holds and when it was written, or nothing when there is no link at all.
    pub(super) async fn read_dated_link(
        &self,
        place: &Place,
    ) -> Result<Option<(Option<Digest>, SystemTime)>, Error> {
        let key = place.key();
        let failed = Error::storage("read a link");
        let mut content = match self.driver.read(&key, ReadRange::Full).await {
            Ok(content) => content,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let (size, modified) = (content.size, content.modified);
        let mut bytes = Vec::new();
        while size <= LINK_MAX
            && let Some(block) = content.try_next().await.map_err(&failed)?
        {
            bytes.extend_from_slice(&block);
        }
        let digest = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| Digest::parse(text.trim_ascii()).ok());
        if digest.is_none() {
            tracing::warn!(%key, size, "a link holds no digest and counts as missing");
        }
        Ok(Some((digest, modified)))
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
