//! The sizes that belong to digests, as hashing found them. The size of a digest never changes, so a client cannot have
//! a large blob hashed again and again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use registry_oci::Digest;
use tokio::sync::Semaphore;

/// How many sizes are remembered. When there are more, all are forgotten.
const KNOWN_MAX: usize = 4096;

/// The sizes of blobs that were hashed.
#[derive(Debug)]
pub(super) struct VerifiedSizes {
    /// The size that belongs to a digest.
    known: Mutex<BTreeMap<Digest, u64>>,
    /// Lets one blob be hashed at a time.
    pub(super) permit: Semaphore,
}

impl Default for VerifiedSizes {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            permit: Semaphore::new(1),
        }
    }
}

impl VerifiedSizes {
    /// No code that can panic runs while the lock is held, so a poisoned lock is usable.
    fn known(&self) -> MutexGuard<'_, BTreeMap<Digest, u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, digest: &Digest) -> Option<u64> {
        self.known().get(digest).copied()
    }

    pub(super) fn remember(&self, digest: Digest, size: u64) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(digest, size);
    }
}
