//! Checks single objects. Many checks run at once and share the store, the damaged payloads that are known, and the
//! digests that were computed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use registry_oci::{Algorithm, Digest, RepositoryName};

use super::report::Digests;
use crate::registry::{Error, Registry};
use crate::storage::layout::ObjectPath;

/// How many digests of another algorithm are remembered, so that a blob that many repositories link is hashed once.
const OTHERS_MAX: usize = 4096;

/// Checks single objects.
pub(super) struct Inspector<'a> {
    pub(super) registry: &'a Registry,
    pub(super) digests: Digests,
    /// Bytes that were hashed, also of payloads that are not done yet.
    pub(super) hashed: AtomicU64,
    /// Damaged payloads: they exist but count as missing.
    damaged: Mutex<HashSet<Digest>>,
    /// The digests of payloads under another algorithm.
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

    /// No code that can panic runs while the lock is held, so a poisoned lock is usable.
    fn damaged(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a damaged payload. Returns whether it was not known before.
    pub(super) fn mark_damaged(&self, digest: Digest) -> bool {
        self.damaged().insert(digest)
    }

    pub(super) fn is_damaged(&self, digest: &Digest) -> bool {
        self.damaged().contains(digest)
    }

    /// The size of a payload that exists and is not known to be damaged.
    pub(super) async fn payload_size(&self, canonical: &Digest) -> Result<Option<u64>, Error> {
        if self.is_damaged(canonical) {
            return Ok(None);
        }
        let key = ObjectPath::blob_data(canonical).key();
        let found = self
            .registry
            .driver
            .try_stat(&key)
            .await
            .map_err(Error::storage("look at a blob"))?;
        Ok(found.map(|found| found.size))
    }

    /// The size of a manifest's payload, if the repository has links to the manifest. A manifest with a second digest
    /// only counts while its canonical link exists, as when it is served.
    pub(super) async fn manifest_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let link = |digest| ObjectPath::revision_link(repository, &digest);
        let Some(canonical) = self.valid_target(&link(*digest), digest).await? else {
            return Ok(None);
        };
        if canonical != *digest && self.link_target(&link(canonical)).await?.is_none() {
            return Ok(None);
        }
        self.payload_size(&canonical).await
    }

    /// The size of a blob, if the repository has it.
    pub(super) async fn blob_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let path = ObjectPath::layer_link(repository, digest);
        match self.valid_target(&path, digest).await? {
            Some(canonical) => self.payload_size(&canonical).await,
            None => Ok(None),
        }
    }

    /// The digest that a link holds, unless that is wrong: a repair removes such a link.
    async fn valid_target(&self, link: &ObjectPath, digest: &Digest) -> Result<Option<Digest>, Error> {
        let target = self.link_target(link).await?;
        Ok(target.filter(|target| target.algorithm() != digest.algorithm() || target == digest))
    }

    /// The digest that a link holds. Nothing is logged.
    pub(super) async fn link_target(&self, path: &ObjectPath) -> Result<Option<Digest>, Error> {
        let found = self.registry.inspect_link(path).await?;
        Ok(found.and_then(|link| link.target))
    }

    /// Whether a payload has another digest. It is believed to have it, unless digests are to be hashed.
    pub(super) async fn has_digest(&self, canonical: &Digest, other: &Digest) -> Result<bool, Error> {
        if self.digests == Digests::Trusted || canonical == other {
            return Ok(true);
        }
        let name = (*canonical, other.algorithm());
        let known = |inspector: &Self| inspector.other_digests().get(&name).copied();
        if let Some(known) = known(self) {
            return Ok(known == *other);
        }
        let key = ObjectPath::blob_data(canonical).key();
        let hashed = self.registry.hash_object(&key, other.algorithm(), &self.hashed);
        let Some(actual) = hashed.await? else {
            return Ok(true); // It is gone meanwhile, which is another finding.
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
