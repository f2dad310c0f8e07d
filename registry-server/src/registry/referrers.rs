//! Referrers ("Listing Referrers", OCI distribution 1.1).
//!
//! The list is built from an index of our own that distribution never visits. The revision links stay the
//! truth: an entry counts only while its manifest is there, because another server may have deleted it; and a
//! manifest the index does not know, because another server pushed it or the index was lost, is looked at when
//! the list is asked for. So the index may be deleted at any time and is never wrong.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Descriptor, Digest, Manifest, RepositoryName, is_same_type};

use super::{Error, Page, Registry};
use crate::storage::layout::{self, Area, Place};
use crate::storage::{Durability, Mode};

/// An entry holds one descriptor with its annotations; a manifest's own limit bounds them.
const ENTRY_MAX: u64 = registry_oci::MANIFEST_MAX as u64;

/// How many objects are read at once. Each may be as large as a manifest.
const LOOKUPS: usize = 4;

/// A page ends behind the descriptor with which its annotations become longer than this. Their length is whatever
/// was pushed: 25 referrers of 3 MB made one answer cost 1.5 GB.
const PAGE_BYTES: usize = registry_oci::MANIFEST_MAX;

impl Registry {
    /// The manifests of a repository that refer to `subject`, sorted by digest, from behind `last`; those of one
    /// artifact type when it is given. The list is whole unless its annotations are megabytes. A subject that is not there has referrers all the same, or none.
    ///
    /// # Errors
    /// The store's.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&Digest>,
    ) -> Result<Page<Descriptor>, Error> {
        let learned = self.learn_unknown(repository, subject).await?;
        let failed = Error::storage("list referrers");
        let listing = self
            .driver
            .list(&Area::Subject(repository, subject).key())
            .await
            .map_err(&failed)?;
        let mut referrers: Vec<Digest> = listing
            .try_filter_map(async |entry| Ok(layout::referrer_name(&entry.name)))
            .try_collect()
            .await
            .map_err(failed)?;
        referrers.retain(|referrer| last.is_none_or(|last| referrer > last));
        referrers.sort_unstable();
        let mut entries = std::pin::pin!(
            stream::iter(referrers)
                .map(async |referrer| self.referrer(repository, subject, &referrer).await)
                .buffered(LOOKUPS)
        );
        let wanted = |entry: &Descriptor| match artifact_type {
            Some(wanted) => entry
                .artifact_type
                .as_deref()
                .is_some_and(|kind| is_same_type(kind, wanted)),
            None => true,
        };
        let mut page = Page {
            items: Vec::new(),
            more: false,
        };
        let mut bytes = 0;
        while let Some(entry) = entries.try_next().await? {
            let Some(entry) = entry.filter(wanted) else {
                continue;
            };
            // What could not be entered into the index has no place in its order: all at once then.
            if bytes > PAGE_BYTES && learned.is_empty() {
                page.more = true;
                break;
            }
            bytes += annotations_length(&entry);
            page.items.push(entry);
        }
        if !learned.is_empty() {
            let behind = |entry: &Descriptor| last.is_none_or(|last| entry.digest > *last);
            page.items
                .extend(learned.into_iter().filter(wanted).filter(behind));
            page.items.sort_unstable_by_key(|entry| entry.digest);
            page.items.dedup_by_key(|entry| entry.digest);
        }
        Ok(page)
    }

    /// Enters a manifest that has a subject into the index. Durable, because what is marked as known is not
    /// looked at again.
    pub(super) async fn index_referrer(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        manifest: &Manifest,
        bytes: &Bytes,
    ) -> Result<(), Error> {
        let Some(subject) = &manifest.subject else {
            return Ok(());
        };
        let entry = manifest.referrer(digest, bytes);
        let bytes = serde_json::to_vec(&entry).expect("a descriptor has string keys only and is always JSON");
        let place = Place::ReferrerEntry {
            repository: repository.clone(),
            subject: subject.digest,
            referrer: digest,
        };
        self.driver
            .put(
                &place.key(),
                Bytes::from(bytes),
                Mode::Replace,
                Durability::PowerLoss,
            )
            .await
            .map_err(Error::storage("enter a referrer"))
    }

    /// Marks manifests as looked at. After the entry, never before it.
    pub(super) async fn mark_referrers_known(
        &self,
        repository: &RepositoryName,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Result<(), Error> {
        let mut last = None;
        for digest in digests {
            if last.replace(digest) == Some(digest) {
                continue; // Stored under the digest it was pushed by.
            }
            let place = Place::ReferrerKnown {
                repository: repository.clone(),
                digest,
            };
            self.driver
                .put(&place.key(), Bytes::new(), Mode::Replace, Durability::Crash)
                .await
                .map_err(Error::storage("mark a manifest as looked at"))?;
        }
        Ok(())
    }

    /// Removes a manifest that is being deleted from the index.
    pub(super) async fn forget_referrer(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        stored_as: &Digest,
    ) -> Result<(), Error> {
        let mut places = vec![Place::ReferrerKnown {
            repository: repository.clone(),
            digest: *digest,
        }];
        // A manifest that cannot be read has an entry nobody can find, and which no reader believes.
        if let Ok(Some((stored, _))) = self.load_manifest(repository, stored_as).await
            && let Some(subject) = stored.subject
        {
            places.push(Place::ReferrerEntry {
                repository: repository.clone(),
                subject,
                referrer: *digest,
            });
        }
        for place in places {
            match self.driver.delete(&place.key()).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(source) => {
                    return Err(Error::Storage {
                        doing: "remove a referrer",
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// One entry, if its manifest is still there.
    async fn referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<Option<Descriptor>, Error> {
        if self.revision(repository, referrer).await?.is_none() {
            return Ok(None);
        }
        let place = Place::ReferrerEntry {
            repository: repository.clone(),
            subject: *subject,
            referrer: *referrer,
        };
        let entry = match self.driver.get(&place.key(), ENTRY_MAX).await {
            Ok(bytes) => serde_json::from_slice::<Descriptor>(&bytes).ok(),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => {
                return Err(Error::Storage {
                    doing: "read a referrer",
                    source,
                });
            }
        };
        match entry {
            Some(entry) if entry.digest == *referrer => Ok(Some(entry)),
            // A broken entry: the manifest itself says the same.
            Some(_) | None => Ok(self
                .load_manifest(repository, referrer)
                .await?
                .map(|(stored, manifest)| manifest.referrer(*referrer, &stored.bytes))),
        }
    }

    /// Looks at every manifest of the repository that the index does not know, and enters it there. What may not or
    /// cannot be entered is given back if it refers to `subject`.
    async fn learn_unknown(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut learned = Vec::new();
        for algorithm in Algorithm::ALL {
            let mut unknown = self
                .digests(&Area::Revisions(repository, algorithm), algorithm)
                .await?;
            if unknown.is_empty() {
                continue;
            }
            let mut known = self
                .digests(&Area::ReferrersKnown(repository, algorithm), algorithm)
                .await?;
            known.sort_unstable();
            unknown.retain(|digest| known.binary_search(digest).is_err());
            for digest in unknown {
                match self.load_manifest(repository, &digest).await {
                    Ok(Some((stored, manifest))) => {
                        let bytes = &stored.bytes;
                        let is_entered = !self.settings.read_only
                            && self.enter(repository, digest, &manifest, bytes).await?;
                        if !is_entered && stored.subject.as_ref() == Some(subject) {
                            learned.push(manifest.referrer(digest, bytes));
                        }
                    }
                    Ok(None) => continue,
                    // One broken manifest must not hide the others' referrers.
                    Err(error @ (Error::Corrupt { .. } | Error::StoredManifest { .. })) => {
                        tracing::warn!(%repository, %digest, %error, "a manifest could not be looked at");
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(learned)
    }

    /// Enters a manifest that was found. Tells whether it could: a store that takes no writes is pulled from all the same.
    async fn enter(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        manifest: &Manifest,
        bytes: &Bytes,
    ) -> Result<bool, Error> {
        let entered = async {
            self.index_referrer(repository, digest, manifest, bytes).await?;
            self.mark_referrers_known(repository, [digest]).await
        };
        match entered.await {
            Ok(()) => Ok(true),
            Err(error) if error.refusal().is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn digests(&self, area: &Area<'_>, algorithm: Algorithm) -> Result<Vec<Digest>, Error> {
        let failed = Error::storage("list manifests");
        let listing = self.driver.list(&area.key()).await.map_err(&failed)?;
        listing
            .try_filter_map(async |entry| Ok(layout::listed_digest(algorithm, &entry.name)))
            .try_collect()
            .await
            .map_err(failed)
    }
}

fn annotations_length(entry: &Descriptor) -> usize {
    let annotations = entry.annotations.iter().flatten();
    annotations.map(|(name, value)| name.len() + value.len()).sum()
}
