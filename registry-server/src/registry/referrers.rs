//! Lists referrers ("Listing Referrers", OCI distribution 1.1).
//!
//! The list is built from an index of our own, which distribution never reads. The links of manifests are the truth: an
//! entry counts only while its manifest exists, because another server may have deleted the manifest. A manifest that
//! the index does not have, because another server pushed it or the index was lost, is read when the list is asked for
//! ([`unindexed`]). So the index may be deleted, and the list is right all the same.
//!
//! Guarantees: a page is bounded in bytes and in number, and so are the bytes of all pages that are built or sent at
//! once. Large manifests are read one by one.
//! Start at [`Registry::referrers`].

pub(super) mod descriptor;
pub(super) mod page;
mod small_manifest;
mod unindexed;
pub(super) mod unindexed_cache;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{ARTIFACT_TYPE_MAX, Digest, Manifest, RepositoryName, is_same_type};

use self::descriptor::{ReferrerEntry, descriptor, fitting, serialized};
use self::page::{DESCRIPTOR_MAX, Entry, Referrers, ReferrersPage};
use self::small_manifest::{LOOKUPS, SmallManifest};
use super::manifest_parser::ParsedManifest;
use super::{Error, Registry, offload};
use crate::storage::layout::{self, ObjectPath, PathPrefix};
use crate::storage::{self, Durability, Mode};

/// Up to this size entries are read several at a time for each of many clients. Larger ones are read one by one, when
/// they are next in the list and there is room for them.
const SMALL: u64 = 16 * 1024;

/// How many referrers a page has at most.
const PAGE_ENTRIES: usize = 1000;

/// How many referrers are read for one page, when most are of another type than the one that is asked for.
const PAGE_LOOKUPS: usize = 4 * PAGE_ENTRIES;

/// A referrer that exists.
enum FoundReferrer {
    /// Its entry in the index.
    Entry(Entry),
    /// Its entry or its manifest is large and has to be read by itself.
    Large,
}

impl Registry {
    /// The manifests of a repository that refer to `subject`, sorted by digest, from behind `last`; those of one
    /// artifact type when it is given. The subject need not exist.
    ///
    /// # Errors
    /// The store's.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&Digest>,
    ) -> Result<Referrers, Error> {
        let referrers = self.referrers_behind(repository, subject, last).await?;
        let looked_at = referrers
            .get(PAGE_LOOKUPS.min(referrers.len()).wrapping_sub(1))
            .copied();
        let is_cut = referrers.len() > PAGE_LOOKUPS;
        let mut found = std::pin::pin!(
            stream::iter(referrers.into_iter().take(PAGE_LOOKUPS))
                .map(async |referrer| {
                    match self.referrer(repository, subject, &referrer).await {
                        Err(error) if error.is_damaged_manifest() => Ok((referrer, None)),
                        found => found.map(|found| (referrer, found)),
                    }
                })
                .buffered(LOOKUPS)
        );
        let mut page = ReferrersPage::new(&self.pages);
        while let Some((referrer, found)) = found.try_next().await? {
            let entry = match found {
                Some(FoundReferrer::Entry(entry)) => Some(entry),
                Some(FoundReferrer::Large) => {
                    page.reserve().await?;
                    match self.large_referrer(repository, subject, &referrer).await {
                        Err(error) if error.is_damaged_manifest() => None,
                        found => found?,
                    }
                }
                None => None,
            };
            let Some(entry) = entry.filter(|entry| is_wanted(entry, artifact_type)) else {
                continue;
            };
            if page.count() == PAGE_ENTRIES || !page.fits(&entry) {
                return Ok(page.finish(true));
            }
            page.push(referrer, entry).await?;
        }
        Ok(match looked_at {
            Some(looked_at) if is_cut => page.finish_behind(looked_at),
            Some(_) | None => page.finish(false),
        })
    }

    /// The digests of referrers, sorted, from behind `last`. Some may be gone.
    async fn referrers_behind(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        last: Option<&Digest>,
    ) -> Result<Vec<Digest>, Error> {
        let mut referrers = self.unindexed_referrers(repository, subject).await?;
        let failed = Error::storage("list referrers");
        let mut listing = self
            .driver
            .list(&PathPrefix::Subject(repository, subject).key())
            .await
            .map_err(&failed)?;
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            referrers.extend(layout::referrer_name(&entry.name));
        }
        if let Some(last) = last {
            referrers.retain(|referrer| referrer > last);
        }
        offload::by_count(referrers.len(), move || {
            referrers.sort_unstable();
            referrers.dedup();
            referrers
        })
        .await
    }

    /// The entry of a manifest in the list of its subject's referrers, with the subject; nothing when it has no
    /// subject.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`] when no page has room for it.
    pub(super) async fn referrer_entry(
        &self,
        digest: Digest,
        manifest: &ParsedManifest,
        bytes: &Bytes,
    ) -> Result<Option<ReferrerEntry>, Error> {
        let Some(subject) = &manifest.subject else {
            return Ok(None);
        };
        let subject = subject.digest;
        let invalid = |reason: String| Error::ManifestInvalid {
            source: registry_oci::Error::InvalidManifest { reason },
        };
        if manifest
            .artifact_type
            .as_ref()
            .is_some_and(|kind| kind.len() > ARTIFACT_TYPE_MAX)
        {
            return Err(invalid(format!(
                "the `artifactType` of a manifest with a `subject` has more than {ARTIFACT_TYPE_MAX} bytes"
            )));
        }
        let json = descriptor(digest, manifest, bytes).await?;
        if json.len() > DESCRIPTOR_MAX {
            return Err(invalid(format!(
                "the annotations of a manifest with a `subject` are listed with it, and these make a list of more than \
                 {DESCRIPTOR_MAX} bytes"
            )));
        }
        Ok(Some(ReferrerEntry { subject, json }))
    }

    /// Writes the entry of a manifest. It is durable, because a manifest with a mark is not read again.
    pub(super) async fn index_referrer(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        entry: ReferrerEntry,
    ) -> Result<(), Error> {
        let path = ObjectPath::referrer_entry(repository, &entry.subject, &digest);
        self.driver
            .put(&path.key(), entry.json, Mode::Replace, Durability::PowerLoss)
            .await
            .map_err(Error::storage("write an entry of a referrer"))
    }

    /// Marks manifests as looked at. Call this after the entry was written, never before it.
    pub(super) async fn mark_referrers_known(
        &self,
        repository: &RepositoryName,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Result<(), Error> {
        let mut last = None;
        for digest in digests {
            if last.replace(digest) == Some(digest) {
                continue; // Its canonical digest is the one by which it was pushed.
            }
            let path = ObjectPath::referrer_known(repository, &digest);
            self.driver
                .put(&path.key(), Bytes::new(), Mode::Replace, Durability::Crash)
                .await
                .map_err(Error::storage("mark a manifest as looked at"))?;
        }
        Ok(())
    }

    /// One referrer, if its manifest still exists.
    async fn referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<Option<FoundReferrer>, Error> {
        let Some(canonical) = self.manifest_link_target(repository, referrer).await? else {
            return Ok(None);
        };
        let path = ObjectPath::referrer_entry(repository, subject, referrer);
        match self.driver.get(&path.key(), SMALL).await {
            Ok(bytes) => {
                // A broken entry is replaced by what the manifest says.
                if let Some(entry) = Entry::read(bytes, referrer) {
                    return Ok(Some(FoundReferrer::Entry(entry)));
                }
            }
            Err(storage::Error::TooLarge { .. }) => return Ok(Some(FoundReferrer::Large)),
            Err(error) if error.is_not_found() => {}
            Err(source) => return Err(Error::storage("read a referrer")(source)),
        }
        match self.small_manifest(referrer, &canonical, SMALL).await? {
            Some(SmallManifest::Manifest(bytes, manifest)) if refers_to(&manifest, subject) => {
                let json = serialized(referrer, &manifest, &bytes);
                if json.len() as u64 > SMALL {
                    return Ok(Some(FoundReferrer::Large));
                }
                Ok(Entry::read(json, referrer).map(FoundReferrer::Entry))
            }
            Some(SmallManifest::Large) => Ok(Some(FoundReferrer::Large)),
            Some(SmallManifest::Manifest(..)) | None => Ok(None),
        }
    }

    /// One large referrer. A manifest for which no page has room was pushed by another server, and is listed without
    /// its annotations.
    async fn large_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<Option<Entry>, Error> {
        let path = ObjectPath::referrer_entry(repository, subject, referrer);
        match self.driver.get(&path.key(), DESCRIPTOR_MAX as u64).await {
            Ok(bytes) => {
                let digest = *referrer;
                if let Some(entry) = offload::blocking(move || Entry::read(bytes, &digest)).await? {
                    return Ok(Some(entry));
                }
            }
            Err(storage::Error::TooLarge { .. }) => {}
            Err(error) if error.is_not_found() => {}
            Err(source) => return Err(Error::storage("read a referrer")(source)),
        }
        let Some((stored, manifest)) = self.load_manifest(repository, referrer).await? else {
            return Ok(None);
        };
        if !refers_to(&manifest, subject) {
            return Ok(None);
        }
        let json = fitting(*referrer, &manifest, &stored.bytes).await?;
        drop(manifest);
        let digest = *referrer;
        offload::blocking(move || Entry::read(json, &digest)).await
    }
}

fn refers_to(manifest: &Manifest, subject: &Digest) -> bool {
    manifest
        .subject
        .as_ref()
        .is_some_and(|found| found.digest == *subject)
}

fn is_wanted(entry: &Entry, artifact_type: Option<&str>) -> bool {
    let Some(wanted) = artifact_type else {
        return true;
    };
    let kind = entry.artifact_type.as_deref();
    kind.is_some_and(|kind| is_same_type(kind, wanted))
}
