//! Reads and hashes stored objects, for maintenance.
//!
//! Guarantees: memory is a block of the stream; hashing is done on threads that may block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use registry_oci::{Algorithm, Digest, Hasher};
use sha2::Digest as _;

use super::{Error, Registry, hashing, offload};
use crate::storage::{OptionalExtension as _, ReadRange, StorageKey};

/// A running hash of either algorithm.
pub(super) enum Verifier {
    Sha256(Hasher),
    Sha512(sha2::Sha512),
}

impl Verifier {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Hasher::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub(super) async fn update(self, block: Bytes) -> Result<Self, Error> {
        match self {
            Self::Sha256(hasher) => hashing::update(hasher, block).await.map(Self::Sha256),
            Self::Sha512(hash) => offload::blocking(move || Self::Sha512(hash.chain_update(&block))).await,
        }
    }

    pub(super) fn digest(self) -> Digest {
        match self {
            Self::Sha256(hasher) => hasher.digest(),
            Self::Sha512(hash) => Digest::from_sha512(&hash.finalize().into()),
        }
    }
}

/// The digest and the time of an object that was read.
pub(super) struct HashedObject {
    pub(super) digest: Digest,
    pub(super) modified: SystemTime,
}

/// An object that was read if it is small.
pub(super) enum SmallObject {
    Absent,
    TooLarge { modified: SystemTime },
    Whole { bytes: Bytes, modified: SystemTime },
}

impl Registry {
    /// Hashes an object, and adds its bytes to `count` on the way; nothing when there is no object.
    pub(super) async fn hash_object(
        &self,
        key: &StorageKey,
        algorithm: Algorithm,
        count: &AtomicU64,
    ) -> Result<Option<HashedObject>, Error> {
        let failed = Error::storage("read a blob");
        let Some(mut content) = self
            .driver
            .read(key, ReadRange::Full)
            .await
            .optional()
            .map_err(&failed)?
        else {
            return Ok(None);
        };
        let modified = content.modified;
        let mut verifier = Verifier::new(algorithm);
        while let Some(block) = content.try_next().await.map_err(&failed)? {
            let length = block.len() as u64;
            verifier = verifier.update(block).await?;
            count.fetch_add(length, Ordering::Relaxed);
        }
        Ok(Some(HashedObject {
            digest: verifier.digest(),
            modified,
        }))
    }

    /// Reads an object of at most `limit` bytes, with its time.
    pub(super) async fn read_small(&self, key: &StorageKey, limit: u64) -> Result<SmallObject, Error> {
        let failed = Error::storage("read a manifest");
        let Some(mut content) = self
            .driver
            .read(key, ReadRange::Full)
            .await
            .optional()
            .map_err(&failed)?
        else {
            return Ok(SmallObject::Absent);
        };
        if content.size > limit {
            return Ok(SmallObject::TooLarge {
                modified: content.modified,
            });
        }
        let modified = content.modified;
        let mut bytes = BytesMut::new();
        while let Some(block) = content.try_next().await.map_err(&failed)? {
            bytes.extend_from_slice(&block);
        }
        Ok(SmallObject::Whole {
            bytes: bytes.freeze(),
            modified,
        })
    }
}
