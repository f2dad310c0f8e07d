//! What looks need that run at once: the store, what is known to be damaged, and what was hashed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use registry_oci::{Algorithm, Digest, RepositoryName};

use super::report::Digests;
use crate::registry::{Error, Registry};
use crate::storage::layout::Place;

/// How many digests of another algorithm are remembered, so that a blob that many repositories have is hashed once.
const OTHERS_MAX: usize = 4096;

/// Looks at one thing.
pub(super) struct Inspector<'a> {
    pub(super) registry: &'a Registry,
    pub(super) digests: Digests,
    /// Bytes that are hashed, also of what is not done yet.
    pub(super) hashed: AtomicU64,
    /// Payloads that are there but count as gone.
    damaged: Mutex<HashSet<Digest>>,
    /// From a payload to its digest of another algorithm.
    other_digests: Mutex<HashMap<(Digest, Algorithm), Digest>>,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(registry: &'a Registry, digests: Digests) -> Self {
        Self {
            registry,
            digests,
            hashed: AtomicU64::new(0),
            damaged: Mutex::default(),
            other_digests: Mutex::default(),
        }
    }

    /// No code that can panic runs while the lock is held, so a poisoned one is as good as new.
    fn damaged(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a payload as gone. Tells whether that is news.
    pub(super) fn mark_damaged(&self, digest: Digest) -> bool {
        self.damaged().insert(digest)
    }

    pub(super) fn is_damaged(&self, digest: &Digest) -> bool {
        self.damaged().contains(digest)
    }

    /// The size of a payload that is there and not known to be damaged.
    pub(super) async fn payload_size(&self, canonical: &Digest) -> Result<Option<u64>, Error> {
        if self.is_damaged(canonical) {
            return Ok(None);
        }
        let key = Place::blob_data(canonical).key();
        match self.registry.driver.stat(&key).await {
            Ok(found) => Ok(Some(found.size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(Error::storage("look at a blob")(source)),
        }
    }

    /// Whether a repository has a manifest, by what its links say, and the size of its payload. One that is known by
    /// another digest too counts only while its first link is there, as when it is served.
    pub(super) async fn manifest_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let link = |digest| Place::revision_link(repository, &digest);
        let Some(canonical) = self.valid_target(&link(*digest), digest).await? else {
            return Ok(None);
        };
        if canonical != *digest && self.link_target(&link(canonical)).await?.is_none() {
            return Ok(None);
        }
        self.payload_size(&canonical).await
    }

    /// Whether a repository has a blob, and its size.
    pub(super) async fn blob_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let place = Place::layer_link(repository, digest);
        match self.valid_target(&place, digest).await? {
            Some(canonical) => self.payload_size(&canonical).await,
            None => Ok(None),
        }
    }

    /// What the link of a digest holds, unless that is wrong: a repair takes such a link away.
    async fn valid_target(&self, link: &Place, digest: &Digest) -> Result<Option<Digest>, Error> {
        let target = self.link_target(link).await?;
        Ok(target.filter(|target| target.algorithm() != digest.algorithm() || target == digest))
    }

    /// What a link holds, without a word in the log.
    pub(super) async fn link_target(&self, place: &Place) -> Result<Option<Digest>, Error> {
        let found = self.registry.inspect_link(place).await?;
        Ok(found.and_then(|link| link.target))
    }

    /// Whether a payload is what another digest says; believed unless digests are asked for.
    pub(super) async fn has_digest(&self, canonical: &Digest, other: &Digest) -> Result<bool, Error> {
        if self.digests == Digests::Trusted || canonical == other {
            return Ok(true);
        }
        let name = (*canonical, other.algorithm());
        let known = |inspector: &Self| inspector.other_digests().get(&name).copied();
        if let Some(known) = known(self) {
            return Ok(known == *other);
        }
        let key = Place::blob_data(canonical).key();
        let hashed = self.registry.hash_object(&key, other.algorithm(), &self.hashed);
        let Some(actual) = hashed.await? else {
            return Ok(true); // Gone meanwhile, which is another matter.
        };
        let mut others = self.other_digests();
        if others.len() >= OTHERS_MAX {
            others.clear();
        }
        others.insert(name, actual.digest);
        Ok(actual.digest == *other)
    }

    fn other_digests(&self) -> MutexGuard<'_, HashMap<(Digest, Algorithm), Digest>> {
        self.other_digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
