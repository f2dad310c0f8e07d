//! Manifests that are read only when they are small: many are read at a time.

use bytes::Bytes;
use registry_oci::{Digest, Manifest};

use crate::registry::{Error, Registry, hashing};
use crate::storage;
use crate::storage::layout::ObjectPath;

/// How many small manifests or entries are read at once.
pub(super) const LOOKUPS: usize = 16;

/// A manifest that was read if it is small.
pub(super) enum SmallManifest {
    /// It is small.
    Manifest(Bytes, Box<Manifest>),
    /// It is large and was not read.
    Large,
}

impl Registry {
    /// A manifest, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::StoredManifest`], or the store's.
    pub(super) async fn small_manifest(
        &self,
        digest: &Digest,
        canonical: &Digest,
        limit: u64,
    ) -> Result<Option<SmallManifest>, Error> {
        let bytes = match self
            .driver
            .get(&ObjectPath::blob_data(canonical).key(), limit)
            .await
        {
            Ok(bytes) => bytes,
            Err(storage::Error::TooLarge { .. }) => return Ok(Some(SmallManifest::Large)),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => return Err(Error::storage("read a manifest")(source)),
        };
        if hashing::digest(canonical.algorithm(), &bytes).await? != *canonical {
            return Err(Error::Corrupt { digest: *canonical });
        }
        let digest = *digest;
        let manifest =
            Manifest::of_stored(&bytes).map_err(|source| Error::StoredManifest { digest, source })?;
        Ok(Some(SmallManifest::Manifest(bytes, Box::new(manifest))))
    }
}
