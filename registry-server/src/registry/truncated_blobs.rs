//! Finds payloads that a machine's crash, or a volume that was lost, emptied or cut short.
//!
//! Guarantees:
//! - **An empty payload counts as missing** for HEAD, GET, mounts and pushed manifests, unless its digest is that of no
//!   bytes. This costs nothing to see, and the next upload of the blob replaces it.
//! - **A payload is hashed when a pushed manifest says another size.** If its bytes have the digest, the manifest is
//!   wrong and refused. Otherwise the payload goes to the trash of `storage check` and counts as missing, and the next
//!   push sends it again.
//! - The size of a digest never changes. It is remembered, so that a client cannot have a large payload hashed again
//!   and again. One payload is hashed at a time, to its end even when the client is gone.
//!
//! Must not: hash a payload that has the right size. `storage check --digests` finds bytes that changed while their
//! number stayed.
//! Start at [`Registry::has_declared_size`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use registry_oci::Digest;

use super::offload::detached;
use super::{BlobDescriptor, Error, Registry};
use crate::storage::layout::ObjectPath;

impl Registry {
    /// Whether a payload of this size can have this digest. One that cannot is logged once.
    pub(super) fn is_plausible_size(&self, canonical: &Digest, size: u64) -> bool {
        let whole = size > 0 || Digest::of(canonical.algorithm(), b"") == *canonical;
        if !whole && self.warn_once.is_first(&ObjectPath::blob_data(canonical).key()) {
            tracing::error!(digest = %canonical, "a blob is empty and counts as missing until it is pushed again");
        }
        whole
    }

    /// Whether a blob exists and has the size that a manifest declares. A manifest that declares no size is believed.
    ///
    /// # Errors
    /// [`Error::ManifestSize`], or the store's.
    pub(super) async fn has_declared_size(
        &self,
        digest: Digest,
        said: u64,
        blob: Option<BlobDescriptor>,
    ) -> Result<bool, Error> {
        let Some(blob) = blob else {
            return Ok(false);
        };
        if said == 0 || said == blob.size {
            return Ok(true);
        }
        match self.verify_size(blob.canonical).await? {
            None => Ok(false),
            // The payload was replaced meanwhile.
            Some(actual) if actual == said => Ok(true),
            Some(actual) => Err(Error::ManifestSize { digest, said, actual }),
        }
    }

    /// The size of a payload whose size in the store is in doubt; nothing when it is gone, or was damaged and is now in
    /// the trash.
    async fn verify_size(&self, canonical: Digest) -> Result<Option<u64>, Error> {
        let registry = self.clone();
        detached(async move {
            let permit = registry.sizes.permit.acquire().await;
            let _permit = permit.map_err(|_| Error::Stopping)?;
            registry.verify_size_exclusively(canonical).await
        })
        .await
    }

    async fn verify_size_exclusively(&self, canonical: Digest) -> Result<Option<u64>, Error> {
        let key = ObjectPath::blob_data(&canonical).key();
        if let Some(whole) = self.sizes.of(&canonical) {
            let found = self.driver.try_stat(&key).await;
            return match found.map_err(Error::storage("look at a blob"))? {
                None => Ok(None),
                Some(found) if found.size == whole => Ok(Some(whole)),
                Some(found) => self.trash_damaged(canonical, found.size, found.modified).await,
            };
        }
        let count = AtomicU64::new(0);
        let hashed = self.hash_object(&key, canonical.algorithm(), &count).await?;
        let size = count.load(Ordering::Relaxed);
        match hashed {
            None => Ok(None),
            Some(found) if found.digest == canonical => {
                self.sizes.remember(canonical, size);
                Ok(Some(size))
            }
            Some(found) => self.trash_damaged(canonical, size, found.modified).await,
        }
    }

    /// Moves a damaged payload to the trash, unless it was written again since `seen`.
    async fn trash_damaged(
        &self,
        canonical: Digest,
        size: u64,
        seen: SystemTime,
    ) -> Result<Option<u64>, Error> {
        if self.settings.read_only {
            return Ok(None);
        }
        match self.trash_blob(canonical, size, seen).await? {
            Some(run) => {
                tracing::error!(digest = %canonical, size, trash = %run, "a blob was damaged and is in the trash: it counts as missing until it is pushed again");
            }
            None => tracing::debug!(digest = %canonical, "a damaged blob was replaced meanwhile"),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
