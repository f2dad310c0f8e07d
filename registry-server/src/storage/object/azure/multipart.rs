//! Multipart uploads of a container: the parts are blocks of the blob itself, or of a blob beside it where an append blob is
//! in the way.

use async_trait::async_trait;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, PutPayload, PutResult, Result};
use uuid::Uuid;

use super::container::{Container, is_append_blob};
use crate::storage::object::part_objects;

/// The receipt of a part that lies under a name of its own begins with this.
const APART: &str = "beside-";

/// The last component of that name.
const WHOLE: &str = "whole";

impl Container {
    /// The blob that takes an upload's parts when an append blob is in the way.
    fn apart(&self, path: &Path, id: &str) -> Result<Path> {
        let folder = part_objects::folder(&self.names.prefix, path, id);
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
            Err(error) if is_append_blob(&error) => {
                let part = client.put_part(&self.apart(path, id)?, id, number, data).await?;
                Ok(PartId {
                    content_id: format!("{APART}{}", part.content_id),
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
        let blocks = parts.iter().map(|part| part.content_id.strip_prefix(APART));
        let Some(blocks) = blocks
            .collect::<Option<Vec<_>>>()
            .filter(|blocks| !blocks.is_empty())
        else {
            // If only some parts lie apart, the blob was replaced meanwhile, and Azure does not find all blocks.
            return client.complete_multipart(path, id, parts).await;
        };
        let blocks = blocks.into_iter().map(|block| PartId {
            content_id: block.to_owned(),
        });
        let apart = self.apart(path, id)?;
        client.complete_multipart(&apart, id, blocks.collect()).await?;
        self.copy_over_append_blob(&apart, path).await?;
        // After a failure of this call or an earlier one, the rest is an unfinished upload for the purge.
        if let Err(error) = self.calls.remove(&apart, self.names.slash().await?).await {
            tracing::debug!(%path, %error, "the parts of an upload that is over could not be removed");
        }
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: http::Extensions::default(),
        })
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        // Azure removes blocks by itself.
        let apart = self.apart(path, id)?;
        self.calls.remove(&apart, self.names.slash().await?).await
    }
}
