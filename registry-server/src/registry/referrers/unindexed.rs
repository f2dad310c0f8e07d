//! Manifests that the index of referrers does not know.
//!
//! Another server pushed them, or the index was lost. They are looked at once and entered into the index; where nothing
//! may or can be written, what was seen is remembered in memory instead.
//!
//! Guarantees: whoever asks hears of everything that was there when they did, on a bucket of what was there [`BUCKET_SCAN_AGE`]
//! before; however many ask at the same time, a repository is looked through once; no manifest is read twice while it is
//! remembered; memory is bounded, and so is what is read at once.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, RepositoryName};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::descriptor::{fitting, serialized};
use super::small_manifest::{LOOKUPS, SmallManifest};
use super::unindexed_cache::SeenManifests;
use crate::registry::offload::{MANY, detached};
use crate::registry::{Error, Registry};
use crate::storage::layout::{self, Area};

/// Up to this size manifests are looked at several at a time; larger ones are read one by one.
const SMALL: u64 = 64 * 1024;

/// What a look at one manifest found.
enum IndexResult {
    /// What it refers to, and whether the index knows it from now on.
    Read { subject: Option<Digest>, entered: bool },
    /// It is large and has to be read by itself.
    Large,
    /// It is gone, or broken.
    Nothing,
}

impl Registry {
    /// The referrers of a subject that are in no index, because nothing may or can be entered there.
    pub(super) async fn unindexed_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, Error> {
        let asked = Instant::now();
        let seen = self.unindexed.of_repository(repository).lock_owned().await;
        // A look that began while this one waited saw all that was there when it was asked for.
        if seen
            .scan_started
            .is_some_and(|begun| begun + self.unindexed.max_age >= asked)
        {
            return Ok(seen.referrers.get(subject).cloned().unwrap_or_default());
        }
        // A client that hangs up must not throw away what was read so far: the next one would begin again.
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
        // Those of this look that cannot be remembered.
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

    /// The manifests that neither the index knows nor were seen.
    async fn unindexed_manifests(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
        seen: &SeenManifests,
    ) -> Result<Vec<Digest>, Error> {
        let revisions: Vec<Digest> = self
            .listed_digests(&Area::Revisions(repository, algorithm), algorithm)
            .await?;
        if revisions.is_empty() {
            return Ok(revisions);
        }
        let known: HashSet<Digest> = self
            .listed_digests(&Area::ReferrersKnown(repository, algorithm), algorithm)
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
        area: &Area<'_>,
        algorithm: Algorithm,
    ) -> Result<C, Error> {
        let failed = Error::storage("list manifests");
        let listing = self.driver.list(&area.key()).await.map_err(&failed)?;
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
                let entry = subject.map(|subject| (subject, serialized(digest, &manifest, &bytes)));
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
                    Some(subject) => Some((subject, fitting(*digest, &manifest, &stored.bytes).await?)),
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

    /// One damaged manifest must not hide the others' referrers. It is told once.
    fn warn_of_damage(&self, repository: &RepositoryName, digest: &Digest, error: &Error) {
        let key = layout::Place::blob_data(digest).key();
        if self.warn_once.is_first(&key) {
            tracing::warn!(%repository, %digest, %error, "a manifest could not be looked at");
        }
    }

    /// Enters a manifest that was found. Tells whether it could: a store that takes no writes is pulled from all the
    /// same.
    async fn write_entry(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        entry: Option<(Digest, bytes::Bytes)>,
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

    /// The same, with looks that may be as old as on a bucket.
    #[cfg(test)]
    pub(in crate::registry) fn with_scans_as_on_a_bucket(mut self) -> Self {
        self.unindexed = std::sync::Arc::new(super::unindexed_cache::UnindexedCache::as_on_a_bucket());
        self
    }

    /// Lets the next list look a repository through again.
    #[cfg(test)]
    pub(in crate::registry) async fn forget_scan(&self, repository: &RepositoryName) {
        self.unindexed.of_repository(repository).lock().await.scan_started = None;
    }
}
