//! The memory of one process of manifests that the index of referrers does not have.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use registry_oci::{Digest, RepositoryName};
use tokio::time::Instant;

use crate::storage::{Driver, LargeWrite};

/// For how long a repository in a bucket is not scanned again. Listing it needs requests to another machine, one for
/// each thousand manifests. Manifests that our own servers push are in the index at once; this is about other servers
/// on the same store.
const BUCKET_SCAN_AGE: Duration = Duration::from_secs(5);

/// How many repositories are remembered.
const REPOSITORIES_MAX: usize = 1024;

/// How many digests are remembered, in all repositories together.
const DIGESTS_MAX: usize = 100_000;

/// The manifests that are remembered.
#[derive(Debug, Default)]
pub(in crate::registry) struct UnindexedCache {
    repositories: Mutex<HashMap<RepositoryName, Slot>>,
    /// How many digests are remembered.
    digests: Arc<AtomicUsize>,
    /// Counts the uses, for the order in which repositories are removed.
    uses: AtomicU64,
    /// How old a scan may be.
    pub(super) max_age: Duration,
}

#[derive(Debug)]
struct Slot {
    seen: Arc<tokio::sync::Mutex<SeenManifests>>,
    used: u64,
}

/// The manifests of one repository that were read.
#[derive(Debug, Default)]
pub(super) struct SeenManifests {
    /// Manifests that are not in the index and need not be read again: the subject of a digest never changes.
    pub(super) looked_at: HashSet<Digest>,
    /// Those of them that have a subject, by subject.
    pub(super) referrers: HashMap<Digest, Vec<Digest>>,
    /// When the last scan began whose results are all remembered.
    pub(super) scan_started: Option<Instant>,
    /// How many digests these are, counted in `all`.
    digests: usize,
    all: Arc<AtomicUsize>,
}

impl UnindexedCache {
    /// An empty cache for the repositories of a store.
    pub(in crate::registry) fn of_store(driver: &dyn Driver) -> Self {
        Self {
            max_age: match driver.large_write() {
                LargeWrite::Append(_) => Duration::ZERO,
                LargeWrite::Multipart(_) => BUCKET_SCAN_AGE,
            },
            ..Self::default()
        }
    }

    /// An empty cache with scans that may be as old as on a bucket.
    #[cfg(test)]
    pub(super) fn as_on_a_bucket() -> Self {
        Self {
            max_age: BUCKET_SCAN_AGE,
            ..Self::default()
        }
    }

    /// The manifests of a repository that were read. When there are too many, the repository that was not asked for
    /// longest is removed.
    pub(super) fn of_repository(
        &self,
        repository: &RepositoryName,
    ) -> Arc<tokio::sync::Mutex<SeenManifests>> {
        let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = repositories.get_mut(repository) {
            slot.used = used;
            return Arc::clone(&slot.seen);
        }
        while repositories.len() >= REPOSITORIES_MAX || self.digests.load(Ordering::Relaxed) >= DIGESTS_MAX {
            // A repository that is being scanned stays.
            let idle = repositories
                .iter()
                .filter(|(_, slot)| Arc::strong_count(&slot.seen) == 1);
            let Some((oldest, _)) = idle.min_by_key(|(_, slot)| slot.used) else {
                break;
            };
            let oldest = oldest.clone();
            repositories.remove(&oldest);
        }
        let mut seen = SeenManifests::default();
        seen.all = Arc::clone(&self.digests);
        let seen = Arc::new(tokio::sync::Mutex::new(seen));
        let slot = Slot {
            seen: Arc::clone(&seen),
            used,
        };
        repositories.insert(repository.clone(), slot);
        seen
    }
}

impl SeenManifests {
    /// Remembers a manifest and its subject. Returns whether there was room.
    pub(super) fn remember(&mut self, digest: Digest, subject: Option<Digest>) -> bool {
        if self.all.load(Ordering::Relaxed) >= DIGESTS_MAX {
            return false;
        }
        if self.looked_at.insert(digest) {
            if let Some(subject) = subject {
                self.referrers.entry(subject).or_default().push(digest);
            }
            let more = if subject.is_some() { 3 } else { 1 };
            self.digests += more;
            self.all.fetch_add(more, Ordering::Relaxed);
        }
        true
    }
}

impl Drop for SeenManifests {
    fn drop(&mut self) {
        self.all.fetch_sub(self.digests, Ordering::Relaxed);
    }
}
