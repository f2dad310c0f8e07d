//! Hashing away from the threads that serve connections.

use bytes::Bytes;
use registry_oci::{Algorithm, Digest, Hasher};

use super::{Error, offload};

/// Up to this size hashing takes a few microseconds, less than handing it to another thread does.
const INLINE_MAX: usize = 16 * 1024;

/// Hashes a block.
pub(super) async fn update(mut hasher: Hasher, block: Bytes) -> Result<Hasher, Error> {
    if block.len() <= INLINE_MAX {
        hasher.update(&block);
        return Ok(hasher);
    }
    offload::blocking(move || {
        hasher.update(&block);
        hasher
    })
    .await
}

/// The digest of a manifest's bytes.
pub(super) async fn digest(algorithm: Algorithm, bytes: &Bytes) -> Result<Digest, Error> {
    if bytes.len() <= INLINE_MAX {
        return Ok(Digest::of(algorithm, bytes));
    }
    let bytes = bytes.clone();
    offload::blocking(move || Digest::of(algorithm, &bytes)).await
}
