//! Multipart uploads: each part is an object of its own, and in the end they are composed into the blob.
//!
//! An upload is only a name until it has a part. A part is written under a unique name, which is its receipt. So a part that is
//! stored again for the same number has another name, and a late write changes nothing. No bytes are copied: Google composes
//! objects by reference, 32 at a time, and composes the results again.
//! When the blob exists the parts are removed. The parts that a crash leaves are an unfinished upload, which the purge of
//! uploads removes.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, MultipartId, ObjectStore as _, PutPayload, PutResult, Result};
use uuid::Uuid;

use super::Gcs;
use super::json::COMPOSED;
use crate::storage::object::part_objects::{self, JOINED};

/// How many compose calls run in parallel.
const AT_ONCE: usize = 8;

impl Gcs {
    /// The prefix of an upload's parts, with a slash at the end.
    fn folder(&self, path: &Path, id: &str) -> String {
        part_objects::folder(&self.prefix, path, id)
    }

    /// Removes the objects below an upload's prefix.
    async fn clear(&self, folder: &str) -> Result<()> {
        let found = part_objects::below(self, folder).await?;
        let paths = found.into_iter().map(|part| Ok(part.location));
        let removed = self.delete_stream(stream::iter(paths.collect::<Vec<_>>()).boxed());
        removed.try_for_each(|_| async { Ok(()) }).await
    }

    /// Removes the parts of a completed upload. If this fails, the purge removes them later.
    async fn forget(&self, path: &Path, folder: &str) {
        if let Err(error) = self.clear(folder).await {
            tracing::debug!(%path, %error, "the parts of an upload that is over could not be removed");
        }
    }

    /// Composes an object of parts.
    async fn join(&self, folder: &str, mut parts: Vec<Path>, target: &Path) -> Result<()> {
        while parts.len() > COMPOSED {
            let joined = parts.chunks(COMPOSED).map(|chunk| async move {
                if let [single] = chunk {
                    return Ok(single.clone());
                }
                // A new name: Google limits the rate of writes to one name.
                let joined = Path::parse(format!("{folder}{JOINED}{}", Uuid::new_v4().simple()))?;
                self.json.compose(chunk, &joined).await?;
                Ok::<_, Error>(joined)
            });
            let joined = stream::iter(joined.collect::<Vec<_>>()).buffered(AT_ONCE);
            parts = joined.try_collect().await?;
        }
        self.json.compose(&parts, target).await
    }
}

#[async_trait]
impl MultipartStore for Gcs {
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
        let name = format!("{number:05}-{}", Uuid::new_v4().simple());
        let part = Path::parse(format!("{}{name}", self.folder(path, id)))?;
        self.json.put(&part, data, None).await?;
        Ok(PartId { content_id: name })
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let folder = self.folder(path, id);
        let parts = parts
            .iter()
            .map(|part| Path::parse(format!("{folder}{}", part.content_id)));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            // Google cannot compose an object of no parts.
            self.json.put(path, PutPayload::new(), None).await?;
        } else if let Err(error) = self.join(&folder, parts.clone(), path).await {
            // Whatever the error is: without its parts there is no upload.
            let found = part_objects::below(self, &folder).await?;
            let found: BTreeSet<Path> = found.into_iter().map(|part| part.location).collect();
            let Some(missing) = parts.iter().find(|part| !found.contains(*part)) else {
                return Err(error);
            };
            // Parts that were stored after the upload ended would stay until the purge.
            self.forget(path, &folder).await;
            return Err(Error::NotFound {
                path: missing.to_string(),
                source: Box::new(error),
            });
        }
        self.forget(path, &folder).await;
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: http::Extensions::default(),
        })
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.clear(&self.folder(path, id)).await
    }
}
