//! Checks manifests, and whether the content that they refer to exists.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use registry_oci::{Algorithm, Digest, Manifest, ManifestKind, ManifestReferences, RepositoryName};

use super::diagnosis::Diagnosis;
use super::finding::Finding;
use super::inspector::Inspector;
use crate::registry::links::DatedLink;
use crate::registry::manifest_parser::STORED_MAX;
use crate::registry::manifest_rules::{IndexChildren, is_outside_registry};
use crate::registry::verify::SmallObject;
use crate::registry::{Error, offload};
use crate::storage::layout::ObjectPath;

/// How many sizes are remembered of one repository, whose images share most of their layers.
const MEMO_MAX: usize = 64 * 1024;

/// The sizes of content that a repository was found to have; nothing for content that it does not have.
#[derive(Default)]
pub(super) struct SizeMemo {
    seen: Mutex<HashMap<(Digest, ReferenceKind), Option<u64>>>,
}

impl SizeMemo {
    fn get(&self, wanted: &(Digest, ReferenceKind)) -> Option<Option<u64>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(wanted).copied()
    }

    fn put(&self, wanted: (Digest, ReferenceKind), there: Option<u64>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MEMO_MAX {
            seen.clear();
        }
        seen.insert(wanted, there);
    }
}

/// The kind of a reference in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ReferenceKind {
    /// A config or a layer.
    Blob,
    /// An entry of an index. Build caches list blobs there, and distribution accepts them.
    Child,
}

/// Content that must exist.
struct RequiredContent {
    digest: Digest,
    kind: ReferenceKind,
    /// The size that the manifest says; nothing when it says none that can be believed.
    size: Option<u64>,
}

/// The references of a manifest.
struct ManifestContent {
    wanted: Vec<RequiredContent>,
    subject: Option<Digest>,
    /// Its digest by the other algorithm, when it has a subject.
    other: Option<Digest>,
}

impl Inspector<'_> {
    /// Checks a manifest of a repository.
    pub(super) async fn manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        memo: &SizeMemo,
    ) -> Result<Vec<Diagnosis>, Error> {
        let link = ObjectPath::revision_link(repository, &digest);
        let Some(DatedLink {
            target,
            modified: seen,
        }) = self.registry.inspect_link(&link).await?
        else {
            return Ok(Vec::new());
        };
        let at_link = |finding| Diagnosis::at(finding, link.clone(), seen);
        let Some(canonical) = target else {
            return Ok(vec![at_link(Finding::LinkEmpty { link: link.clone() })]);
        };
        if canonical.algorithm() == digest.algorithm() && canonical != digest {
            return Ok(vec![at_link(Finding::LinkWrong {
                link: link.clone(),
                holds: canonical,
            })]);
        }
        let dangling = || {
            at_link(Finding::LinkDangling {
                link: link.clone(),
                target: canonical,
            })
        };
        let unreadable = |reason: &str| {
            Diagnosis::beyond_repair(Finding::ManifestUnreadable {
                repository: repository.clone(),
                digest,
                reason: reason.to_owned(),
            })
        };
        if self.is_damaged(&canonical) {
            return Ok(vec![dangling()]);
        }
        let payload = ObjectPath::blob_data(&canonical);
        let (bytes, modified) = match self.registry.read_small(&payload.key(), STORED_MAX).await? {
            SmallObject::Whole { bytes, modified } => (bytes, modified),
            SmallObject::TooLarge { .. } => return Ok(vec![unreadable("it is larger than any manifest")]),
            // Somebody may have removed both in the meantime.
            SmallObject::Absent if self.link_target(&link).await? != target => return Ok(Vec::new()),
            SmallObject::Absent => return Ok(vec![dangling()]),
        };
        let size = bytes.len() as u64;
        let children = self.registry.settings.validation.children.clone();
        let read = offload::blocking(move || read(&canonical, digest, &bytes, &children)).await?;
        let document = match read {
            ReadManifest::Content(document) => document,
            ReadManifest::Unreadable { reason } => return Ok(vec![unreadable(&reason)]),
            // It has a link under a second digest that its bytes do not have.
            ReadManifest::OtherDigest { holds } if holds == canonical => {
                return Ok(vec![at_link(Finding::LinkWrong {
                    link: link.clone(),
                    holds,
                })]);
            }
            ReadManifest::OtherDigest { .. } => {
                let finding = Finding::BlobDamaged {
                    digest: canonical,
                    size,
                };
                // Another repository, or a check at the same time, may have reported it.
                let blob = self
                    .mark_damaged(canonical)
                    .then(|| Diagnosis::at(finding, payload, modified));
                return Ok(blob.into_iter().chain([dangling()]).collect());
            }
        };
        let mut found = Vec::new();
        for wanted in &document.wanted {
            if let Some(finding) = self.missing_content(repository, &digest, wanted, memo).await? {
                found.push(Diagnosis::beyond_repair(finding));
            }
        }
        found.extend(self.lost_referrer(repository, digest, &document).await?);
        Ok(found)
    }

    async fn missing_content(
        &self,
        repository: &RepositoryName,
        manifest: &Digest,
        wanted: &RequiredContent,
        memo: &SizeMemo,
    ) -> Result<Option<Finding>, Error> {
        let RequiredContent { digest, kind, size } = wanted;
        let there = match memo.get(&(*digest, *kind)) {
            Some(there) => there,
            None => {
                let there = match kind {
                    ReferenceKind::Blob => self.blob_size(repository, digest).await?,
                    ReferenceKind::Child => match self.manifest_size(repository, digest).await? {
                        Some(size) => Some(size),
                        None => self.blob_size(repository, digest).await?,
                    },
                };
                memo.put((*digest, *kind), there);
                there
            }
        };
        let (repository, manifest, digest) = (repository.clone(), *manifest, *digest);
        Ok(match (there, kind, size) {
            (None, ReferenceKind::Blob, _) => Some(Finding::BlobMissing {
                repository,
                manifest,
                digest,
            }),
            (None, ReferenceKind::Child, _) => Some(Finding::ManifestMissing {
                repository,
                manifest,
                digest,
            }),
            (Some(actual), _, Some(said)) if actual != *said => Some(Finding::WrongSize {
                repository,
                manifest,
                digest,
                said: *said,
                actual,
            }),
            (Some(_), _, _) => None,
        })
    }

    /// A manifest that has the mark "looked at", but no entry among the referrers of its subject.
    async fn lost_referrer(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        document: &ManifestContent,
    ) -> Result<Option<Diagnosis>, Error> {
        let Some(subject) = document.subject else {
            return Ok(None);
        };
        let Some(mark) = self.mark(repository, &digest).await? else {
            return Ok(None);
        };
        // A manifest with two digests has an entry under the one by which it was pushed.
        for referrer in [Some(digest), document.other].into_iter().flatten() {
            let entry = ObjectPath::referrer_entry(repository, &subject, &referrer);
            let found = self.registry.driver.try_stat(&entry.key()).await;
            if found.map_err(Error::storage("look at a referrer"))?.is_some() {
                return Ok(None);
            }
        }
        let finding = Finding::ReferrerLost {
            repository: repository.clone(),
            subject,
            referrer: digest,
        };
        Ok(Some(Diagnosis::with(finding, vec![mark])))
    }
}

enum ReadManifest {
    Content(ManifestContent),
    /// The bytes have another digest.
    OtherDigest {
        holds: Digest,
    },
    Unreadable {
        reason: String,
    },
}

/// Parses a stored manifest. Blocks for milliseconds with a large one.
fn read(canonical: &Digest, digest: Digest, bytes: &Bytes, children: &IndexChildren) -> ReadManifest {
    let actual = Digest::of(canonical.algorithm(), bytes);
    if actual != *canonical {
        return ReadManifest::OtherDigest { holds: actual };
    }
    if Digest::of(digest.algorithm(), bytes) != digest {
        return ReadManifest::OtherDigest { holds: *canonical };
    }
    let manifest = match Manifest::of_stored(bytes) {
        Ok(manifest) => manifest,
        Err(error) => {
            return ReadManifest::Unreadable {
                reason: error.to_string(),
            };
        }
    };
    let blobs = manifest.config.iter().chain(&manifest.layers);
    let blobs = blobs
        .filter(|blob| !is_outside_registry(blob))
        .map(|blob| RequiredContent {
            digest: blob.digest,
            kind: ReferenceKind::Blob,
            size: blob.size,
        });
    let listed = manifest.manifests.iter();
    let listed = listed
        .filter(|child| children.is_required(child))
        .map(|child| RequiredContent {
            digest: child.digest,
            kind: ReferenceKind::Child,
            size: child.size,
        });
    let mut wanted: Vec<RequiredContent> = match manifest.kind {
        ManifestKind::Image => blobs.collect(),
        ManifestKind::Index => listed.collect(),
        ManifestKind::Schema1 => {
            let mentions = ManifestReferences::read(bytes).unwrap_or_default();
            let blobs = mentions.content.into_iter().map(|digest| RequiredContent {
                digest,
                kind: ReferenceKind::Blob,
                size: None,
            });
            blobs.collect()
        }
    };
    // A layer that an image has twice is reported once.
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|wanted| seen.insert(wanted.digest));
    let subject = manifest.subject.as_ref().map(|subject| subject.digest);
    ReadManifest::Content(ManifestContent {
        wanted,
        subject,
        other: subject.map(|_| {
            let other = match digest.algorithm() {
                Algorithm::Sha256 => Algorithm::Sha512,
                Algorithm::Sha512 => Algorithm::Sha256,
            };
            Digest::of(other, bytes)
        }),
    })
}
