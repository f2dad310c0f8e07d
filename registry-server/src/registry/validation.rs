//! Checks a pushed manifest against the rules beyond its shape: the content that it refers to exists, layers outside
//! the registry have allowed URLs, and repositories may hold its class (`validation` and `policy` of distribution's
//! configuration).

use std::collections::HashMap;
use std::hash::Hash;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Descriptor, Digest, Manifest, RepositoryName, shortened};

use super::manifest_rules::{
    MissingReference, Notice, ReferencePolicy, class, is_outside_registry, misplaced,
};
use super::{BlobDescriptor, Error, Registry};

/// How many references of a manifest are looked up at once.
const LOOKUPS: usize = 16;

/// After how many lookups the count of missing references is compared with the limit. An image has fewer layers.
const BATCH: usize = 1000;

/// How many missing references an answer names.
const MISSING_MAX: usize = 20;

/// How many characters of a URL an answer repeats.
const URL_MAX: usize = 200;

impl Registry {
    /// Checks a manifest that is being pushed. Returns the warnings about it.
    pub(super) async fn validate(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<Vec<Notice>, Error> {
        let rules = &self.settings.validation;
        // An index has no class.
        if let Some(config) = manifest.config.as_ref().filter(|_| !rules.classes.is_empty()) {
            let class = class(config);
            if !class.is_some_and(|class| rules.classes.iter().any(|allowed| allowed == class)) {
                return Err(Error::ManifestClass {
                    config: config.media_type.clone(),
                    class,
                });
            }
        }
        if rules.references == ReferencePolicy::Unchecked {
            return Ok(Vec::new());
        }
        if let Some((content, url)) = misplaced(&rules.urls, manifest) {
            return Err(Error::ManifestUrl {
                layer: content.digest,
                url: url.map(|url| shortened(url, URL_MAX)),
            });
        }
        let missing = self.missing(repository, manifest).await?;
        let (must, may): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|(must, _)| *must && rules.references == ReferencePolicy::Required);
        if !must.is_empty() {
            let more = must.len().saturating_sub(MISSING_MAX);
            let must = must.into_iter().take(MISSING_MAX);
            return Err(Error::ManifestReferences {
                missing: must.map(|(_, missing)| missing).collect(),
                more,
            });
        }
        let mut notices: Vec<Notice> = may
            .into_iter()
            .map(|(_, missing)| Notice::Missing(missing))
            .collect();
        if manifest.layers.iter().any(Descriptor::is_nondistributable) {
            notices.push(Notice::Nondistributable);
        }
        Ok(notices)
    }

    /// The content that a manifest refers to and its repository does not have, and whether it must exist, in the order
    /// of the document. Each digest is looked up once. Content that was not looked up, because enough is missing by
    /// then, counts as missing.
    async fn missing(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<Vec<(bool, MissingReference)>, Error> {
        let rules = &self.settings.validation;
        let blobs: Vec<(Digest, u64)> = manifest
            .config
            .iter()
            .chain(manifest.layers.iter().filter(|layer| !is_outside_registry(layer)))
            .map(|blob| (blob.digest, blob.size.unwrap_or(0)))
            .collect();
        let children: Vec<(bool, Digest, u64)> = manifest
            .manifests
            .iter()
            .map(|child| {
                (
                    rules.children.is_required(child),
                    child.digest,
                    child.size.unwrap_or(0),
                )
            })
            .collect();
        let refuses = rules.references == ReferencePolicy::Required;
        let mut looks = Lookups::of(&blobs);
        while let Some(batch) = looks.batch() {
            let digests: Vec<Digest> = batch.iter().map(|(digest, _)| *digest).collect();
            let blob = self.linked_blobs(repository, &digests).await?;
            let mut there = Vec::with_capacity(batch.len());
            for ((digest, said), blob) in batch.iter().zip(blob) {
                there.push(self.has_declared_size(*digest, *said, blob).await?);
            }
            looks.note(batch.into_iter().zip(there), |_| refuses);
        }
        let mut missing: Vec<_> = blobs
            .into_iter()
            .filter(|blob| !looks.is_there(blob))
            .map(|(digest, _)| (true, MissingReference::Blob(digest)))
            .collect();
        let mut looks = Lookups::of(&children);
        while let Some(batch) = looks.batch() {
            let there: Vec<bool> = stream::iter(batch.clone())
                .map(async |(_, digest, said)| {
                    let blob = self.linked_child(repository, &digest).await?;
                    self.has_declared_size(digest, said, blob).await
                })
                .buffered(LOOKUPS)
                .try_collect()
                .await?;
            looks.note(batch.into_iter().zip(there), |(must, ..)| refuses && *must);
        }
        let lacking = children.into_iter().filter(|child| !looks.is_there(child));
        missing.extend(lacking.map(|(must, digest, _)| (must, MissingReference::Manifest(digest))));
        Ok(missing)
    }

    /// The child of an index that a repository has: a manifest, or a blob, because build caches list blobs.
    async fn linked_child(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobDescriptor>, Error> {
        match self.linked_manifest(repository, digest).await? {
            Some(blob) => Ok(Some(blob)),
            None => self.linked_blob(repository, digest).await,
        }
    }
}

/// Distinct items that are looked up in batches, until enough of those that must exist are missing.
struct Lookups<T> {
    there: HashMap<T, bool>,
    /// The items that are still to be looked up.
    pending: std::vec::IntoIter<T>,
    missing: usize,
}

impl<T: Copy + Eq + Hash> Lookups<T> {
    fn of(wanted: &[T]) -> Self {
        let mut there = HashMap::with_capacity(wanted.len());
        let once = wanted.iter().copied();
        let once: Vec<T> = once.filter(|one| there.insert(*one, false).is_none()).collect();
        Self {
            there,
            pending: once.into_iter(),
            missing: 0,
        }
    }

    /// The next batch; none when all items were looked up or enough are missing.
    fn batch(&mut self) -> Option<Vec<T>> {
        if self.missing > MISSING_MAX {
            return None;
        }
        let batch: Vec<T> = self.pending.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Records the results of a batch. A missing item counts if it `must` exist.
    fn note(&mut self, found: impl Iterator<Item = (T, bool)>, must: impl Fn(&T) -> bool) {
        for (one, is_there) in found {
            self.there.insert(one, is_there);
            self.missing += usize::from(!is_there && must(&one));
        }
    }

    /// Whether an item was found.
    fn is_there(&self, one: &T) -> bool {
        self.there.get(one).copied().unwrap_or(false)
    }
}
