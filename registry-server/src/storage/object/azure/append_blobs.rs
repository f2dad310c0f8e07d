//! Writes over append blobs.
//!
//! Distribution appends: each blob that it was sent in an upload is an append blob. Azure neither writes a block blob over
//! an append blob nor takes blocks for its name (`InvalidBlobType`), so that a push of a layer which the store has already
//! would fail.
//! - An append blob with the same content stays, and is touched as if it had been written.
//! - Any other one is removed first. Between the removal and the write there is no blob under the name, which cannot be
//!   avoided. So the parts of an upload are put together under a name of their own before that.
//!
//! A blob lies under its digest, so it is taken for the same when it has the same size. A smaller object is compared byte
//! by byte.

use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutOptions, PutPayload, PutResult,
    Result,
};

use super::container::Container;

impl Container {
    /// Writes an object over an append blob.
    pub(super) async fn put_over_append_blob(&self, path: &Path, payload: PutPayload) -> Result<PutResult> {
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
            return self.keep(path).await;
        }
        self.calls.remove(path, self.names.slash().await?).await?;
        client.put_opts(path, payload, PutOptions::default()).await
    }

    /// Copies an object over an append blob.
    pub(super) async fn copy_over_append_blob(&self, from: &Path, to: &Path) -> Result<()> {
        let client = self.named().await?;
        let size = client.head(from).await?.size;
        match client.head(to).await {
            Ok(found) if found.size == size => return self.keep(to).await.map(drop),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.calls.remove(to, self.names.slash().await?).await?;
        client.copy_opts(from, to, CopyOptions::default()).await
    }

    async fn keep(&self, path: &Path) -> Result<PutResult> {
        let e_tag = self.calls.touch(path, self.names.slash().await?).await?;
        Ok(PutResult {
            e_tag,
            version: None,
            extensions: http::Extensions::default(),
        })
    }
}
