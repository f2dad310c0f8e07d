//! Writes over blobs of another kind.
//!
//! Distribution appends: what it was sent in an upload is an append blob, and Azure neither writes a block blob over one
//! nor takes blocks for its name (`InvalidBlobType`). Whoever pushes a layer that such a store has already would fail.
//! - What is there and holds the same stays, and is made as young as if it had been written.
//! - Anything else is removed first. Between that and the write there is nothing under the name, which no other way
//!   avoids; so parts of an upload are put together under a name of their own before.
//!
//! Blobs are the same when they are as long, since they lie under their digest; smaller objects when their bytes are.

use async_trait::async_trait;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, MultipartId, ObjectStore as _, ObjectStoreExt as _, PutOptions,
    PutPayload, PutResult, Result,
};
use uuid::Uuid;

use super::container::Container;
use crate::storage::object::{beside, classify};

/// What the receipt of a part begins with that lies under a name of its own.
const BESIDE: &str = "beside-";

/// What a blob is called there.
const WHOLE: &str = "whole";

/// Whether a write met a blob of another kind.
pub(super) fn is_other(error: &Error) -> bool {
    classify::says(error, &["InvalidBlobType"])
}

impl Container {
    /// Writes over a blob of another kind.
    pub(super) async fn put_over_other(&self, path: &Path, payload: PutPayload) -> Result<PutResult> {
        let client = self.named().await?;
        let found = client.get_opts(path, GetOptions::default()).await;
        let same = match found {
            Ok(found) if found.meta.size == payload.content_length() as u64 => {
                let bytes = found.bytes().await?;
                bytes.iter().eq(payload.iter().flatten())
            }
            Ok(_) | Err(Error::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        if same {
            return self.stays(path).await;
        }
        self.calls.remove(path, self.names.slash().await?).await?;
        client.put_opts(path, payload, PutOptions::default()).await
    }

    /// Copies a blob over one of another kind.
    pub(super) async fn copy_over_other(&self, from: &Path, to: &Path) -> Result<()> {
        let client = self.named().await?;
        let size = client.head(from).await?.size;
        match client.head(to).await {
            Ok(found) if found.size == size => return self.stays(to).await.map(drop),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.calls.remove(to, self.names.slash().await?).await?;
        client.copy_opts(from, to, CopyOptions::default()).await
    }

    async fn stays(&self, path: &Path) -> Result<PutResult> {
        let e_tag = self.calls.touch(path, self.names.slash().await?).await?;
        Ok(PutResult {
            e_tag,
            version: None,
            extensions: http::Extensions::default(),
        })
    }

    /// Where an upload's parts lie when the blob itself takes none.
    fn beside(&self, path: &Path, id: &str) -> Result<Path> {
        let folder = beside::folder(&self.names.prefix, path, id);
        Ok(Path::parse(format!("{folder}{WHOLE}"))?)
    }
}

#[async_trait]
impl MultipartStore for Container {
    async fn create_multipart(&self, _: &Path) -> Result<MultipartId> {
        Ok(Uuid::new_v4().to_string())
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        number: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let client = self.named().await?;
        match client.put_part(path, id, number, data.clone()).await {
            Err(error) if is_other(&error) => {
                let part = client.put_part(&self.beside(path, id)?, id, number, data).await?;
                Ok(PartId {
                    content_id: format!("{BESIDE}{}", part.content_id),
                })
            }
            part => part,
        }
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let client = self.named().await?;
        let blocks = parts.iter().map(|part| part.content_id.strip_prefix(BESIDE));
        let Some(blocks) = blocks
            .collect::<Option<Vec<_>>>()
            .filter(|blocks| !blocks.is_empty())
        else {
            // One part on either side means that the blob was replaced meanwhile: Azure does not find all of them.
            return client.complete_multipart(path, id, parts).await;
        };
        let blocks = blocks.into_iter().map(|block| PartId {
            content_id: block.to_owned(),
        });
        let beside = self.beside(path, id)?;
        client.complete_multipart(&beside, id, blocks.collect()).await?;
        self.copy_over_other(&beside, path).await?;
        // What is left by a failure until here, or of this call, is an unfinished upload for the purge.
        if let Err(error) = self.calls.remove(&beside, self.names.slash().await?).await {
            tracing::debug!(%path, %error, "the parts of an upload that is over could not be removed");
        }
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: http::Extensions::default(),
        })
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        // Blocks go by themselves.
        let beside = self.beside(path, id)?;
        self.calls.remove(&beside, self.names.slash().await?).await
    }
}
