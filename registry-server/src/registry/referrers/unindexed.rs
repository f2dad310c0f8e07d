//! Finds manifests that the index of referrers does not have.
//!
//! Another server pushed them, or the index was lost. They are read once and entered into the index. Where the store
//! takes no writes, what was read is remembered in memory instead.
//!
//! Guarantees: a list has everything that existed when it was asked for; on a bucket, everything that existed a few
//! seconds before. However many clients ask at the same time, a repository is scanned once. No manifest is read twice
//! while it is remembered. Memory is bounded, and so is what is read at once.
//! Start at [`Registry::unindexed_referrers`].

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, RepositoryName};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::descriptor::{ReferrerEntry, fitting, serialized};
use super::small_manifest::{LOOKUPS, SmallManifest};
use super::unindexed_cache::SeenManifests;
use crate::registry::offload::{MANY, detached};
use crate::registry::{Error, Registry};
use crate::storage::layout::{self, PathPrefix};

/// Up to this size manifests are read several at a time. Larger ones are read one by one.
const SMALL: u64 = 64 * 1024;

/// The result of reading one manifest.
enum IndexResult {
    /// Its subject, and whether the index has it from now on.
    Read { subject: Option<Digest>, entered: bool },
    /// It is large and has to be read by itself.
    Large,
    /// It is gone, or broken.
    Nothing,
}

impl Registry {
    /// The referrers of a subject that cannot be entered into the index.
    pub(super) async fn unindexed_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, Error> {
        let asked = Instant::now();
        let seen = self.unindexed.of_repository(repository).lock_owned().await;
        // A scan that began while this request waited has read everything that existed when it was asked for.
        if seen
            .scan_started
            .is_some_and(|begun| begun + self.unindexed.max_age >= asked)
        {
            return Ok(seen.referrers.get(subject).cloned().unwrap_or_default());
        }
        // When a client goes away, the scan goes on: otherwise the next client would begin again.
        let (registry, repository, subject) = (self.clone(), repository.clone(), *subject);
        detached(async move { registry.scan_repository(&repository, &subject, seen).await }).await
    }

    async fn scan_repository(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        mut seen: OwnedMutexGuard<SeenManifests>,
    ) -> Result<Vec<Digest>, Error> {
        let begun = Instant::now();
        let mut is_whole = true;
        // Referrers of this scan for which there is no room in memory.
        let mut more = Vec::new();
        for algorithm in Algorithm::ALL {
            let unknown = self.unindexed_manifests(repository, algorithm, &seen).await?;
            let mut looks = std::pin::pin!(
                stream::iter(unknown)
                    .map(async |digest| {
                        let look = self.index_manifest(repository, &digest).await?;
                        Ok::<_, Error>((digest, look))
                    })
                    .buffer_unordered(LOOKUPS)
            );
            while let Some((digest, look)) = looks.try_next().await? {
                let look = match look {
                    IndexResult::Large => self.index_large_manifest(repository, &digest).await?,
                    look => look,
                };
                if let IndexResult::Read {
                    subject: found,
                    entered: false,
                } = look
                    && !seen.remember(digest, found)
                    && let Some(found) = found
                {
                    is_whole = false;
                    more.extend((found == *subject).then_some(digest));
                }
            }
        }
        seen.scan_started = is_whole.then_some(begun);
        more.extend(seen.referrers.get(subject).into_iter().flatten());
        Ok(more)
    }

    /// The manifests that neither the index has nor an earlier scan read.
    async fn unindexed_manifests(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
        seen: &SeenManifests,
    ) -> Result<Vec<Digest>, Error> {
        let revisions: Vec<Digest> = self
            .listed_digests(&PathPrefix::Revisions(repository, algorithm), algorithm)
            .await?;
        if revisions.is_empty() {
            return Ok(revisions);
        }
        let known: HashSet<Digest> = self
            .listed_digests(&PathPrefix::ReferrersKnown(repository, algorithm), algorithm)
            .await?;
        let mut unknown = Vec::new();
        for some in revisions.chunks(MANY) {
            let new = |digest: &&Digest| !known.contains(*digest) && !seen.looked_at.contains(*digest);
            unknown.extend(some.iter().filter(new));
            tokio::task::yield_now().await;
        }
        Ok(unknown)
    }

    async fn listed_digests<C: Default + Extend<Digest>>(
        &self,
        prefix: &PathPrefix<'_>,
        algorithm: Algorithm,
    ) -> Result<C, Error> {
        let failed = Error::storage("list manifests");
        let listing = self.driver.list(&prefix.key()).await.map_err(&failed)?;
        listing
            .try_filter_map(async |entry| Ok(layout::listed_digest(algorithm, &entry.name)))
            .try_collect()
            .await
            .map_err(failed)
    }

    async fn index_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<IndexResult, Error> {
        let Some(canonical) = self.manifest_link_target(repository, digest).await? else {
            return Ok(IndexResult::Nothing);
        };
        match self.small_manifest(digest, &canonical, SMALL).await {
            Ok(Some(SmallManifest::Manifest(bytes, manifest))) => {
                let subject = manifest.subject.as_ref().map(|subject| subject.digest);
                let entry = subject.map(|subject| ReferrerEntry {
                    subject,
                    json: serialized(digest, &manifest, &bytes),
                });
                let entered = self.write_entry(repository, *digest, entry).await?;
                Ok(IndexResult::Read { subject, entered })
            }
            Ok(Some(SmallManifest::Large)) => Ok(IndexResult::Large),
            Ok(None) => Ok(IndexResult::Nothing),
            Err(error) if error.is_damaged_manifest() => {
                self.warn_of_damage(repository, digest, &error);
                Ok(IndexResult::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    async fn index_large_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<IndexResult, Error> {
        match self.load_manifest(repository, digest).await {
            Ok(Some((stored, manifest))) => {
                let subject = stored.subject;
                let entry = match subject {
                    Some(subject) => Some(ReferrerEntry {
                        subject,
                        json: fitting(*digest, &manifest, &stored.bytes).await?,
                    }),
                    None => None,
                };
                drop(manifest);
                let entered = self.write_entry(repository, *digest, entry).await?;
                Ok(IndexResult::Read { subject, entered })
            }
            Ok(None) => Ok(IndexResult::Nothing),
            Err(error) if error.is_damaged_manifest() => {
                self.warn_of_damage(repository, digest, &error);
                Ok(IndexResult::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// A damaged manifest must not hide the referrers of others. It is logged once.
    fn warn_of_damage(&self, repository: &RepositoryName, digest: &Digest, error: &Error) {
        let key = layout::ObjectPath::blob_data(digest).key();
        if self.warn_once.is_first(&key) {
            tracing::warn!(%repository, %digest, %error, "a manifest could not be read");
        }
    }

    /// Enters a manifest into the index. Returns whether the store took the write: a store that takes no writes still
    /// serves pulls.
    async fn write_entry(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        entry: Option<ReferrerEntry>,
    ) -> Result<bool, Error> {
        if self.settings.read_only {
            return Ok(false);
        }
        let entered = async {
            if let Some(entry) = entry {
                self.index_referrer(repository, digest, entry).await?;
            }
            self.mark_referrers_known(repository, [digest]).await
        };
        match entered.await {
            Ok(()) => Ok(true),
            Err(error) if error.refusal().is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same registry, with scans that may be as old as on a bucket.
    #[cfg(test)]
    pub(in crate::registry) fn with_scans_as_on_a_bucket(mut self) -> Self {
        self.unindexed = std::sync::Arc::new(super::unindexed_cache::UnindexedCache::as_on_a_bucket());
        self
    }

    /// Makes the next list scan a repository again.
    #[cfg(test)]
    pub(in crate::registry) async fn forget_scan(&self, repository: &RepositoryName) {
        self.unindexed.of_repository(repository).lock().await.scan_started = None;
    }
}
