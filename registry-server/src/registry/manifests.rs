//! Pushes and pulls manifests ("Pulling manifests" and "Pushing manifests", OCI distribution 1.1).

use bytes::Bytes;
use registry_oci::{
    Algorithm, Descriptor, Digest, MANIFEST_MAX, Manifest, MediaType, Reference, RepositoryName, Tag,
};

use super::blob_access::link_names;
use super::concurrent_deletion::ATTEMPTS_MAX;
use super::link_cache::Consistency;
use super::manifest_parser::{ParsedManifest, STORED_MAX};
use super::referrers::descriptor::ReferrerEntry;
use super::{Error, Notice, Registry, hashing};
use crate::cache::{Link, LinkKind};
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Durability, Mode};

/// A stored manifest as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// The digest that was asked for, or that the tag means.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its bytes, exactly as they were pushed.
    pub bytes: Bytes,
    /// The digest of its subject.
    pub subject: Option<Digest>,
}

/// A manifest that was accepted and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// The digest under which it was pushed.
    pub digest: Digest,
    /// The digest of its subject.
    pub subject: Option<Digest>,
    /// The warnings for its pusher.
    pub notices: Vec<Notice>,
}

/// A manifest that is being pushed.
struct ManifestPush<'a> {
    repository: &'a RepositoryName,
    /// The digest under which it is pushed.
    digest: Digest,
    /// The digest under which its payload is stored.
    canonical: Digest,
    bytes: &'a Bytes,
    manifest: &'a Manifest,
    /// Its entry in the referrers index, if it has a subject.
    entry: Option<ReferrerEntry>,
    tags: Vec<&'a Tag>,
}

impl ManifestPush<'_> {
    /// The paths of all objects that the push writes.
    fn paths(&self) -> Vec<ObjectPath> {
        let Self {
            repository, digest, ..
        } = self;
        let mut paths = vec![ObjectPath::blob_data(&self.canonical)];
        let entry = self.entry.as_ref();
        paths.extend(entry.map(|entry| ObjectPath::referrer_entry(repository, &entry.subject, digest)));
        let names = link_names(*digest, self.canonical);
        paths.extend(names.map(|name| ObjectPath::revision_link(repository, &name)));
        for tag in &self.tags {
            paths.push(ObjectPath::tag_index(repository, tag, digest));
            paths.push(ObjectPath::tag_current(repository, tag));
        }
        paths
    }
}

/// The media types that a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// Any.
    Anything,
    /// These.
    Only(Vec<MediaType>),
}

impl Accepts {
    fn allows(&self, media_type: &MediaType) -> bool {
        match self {
            Self::Anything => true,
            Self::Only(types) => types.contains(media_type),
        }
    }
}

impl Registry {
    /// Stores a manifest under its digest. Sets `tags` to it, and the tag by which it is pushed.
    ///
    /// # Errors
    /// [`Error::ManifestTooLarge`], [`Error::ManifestInvalid`], [`Error::ManifestDigestMismatch`],
    /// [`Error::ManifestReferences`], [`Error::ManifestUrl`], [`Error::ManifestClass`], or the store's.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
        tags: &[Tag],
    ) -> Result<PushedManifest, Error> {
        if bytes.len() > MANIFEST_MAX {
            return Err(Error::ManifestTooLarge {
                size: bytes.len() as u64,
                limit: MANIFEST_MAX as u64,
            });
        }
        let manifest = self
            .parser
            .parse(&bytes, Some(media_type), |source| Error::ManifestInvalid {
                source,
            })
            .await?;
        let canonical = hashing::digest(Algorithm::Sha256, &bytes).await?;
        let digest = match reference {
            Reference::Tag(_) => canonical,
            Reference::Digest(claimed) => {
                let actual = hashing::digest(claimed.algorithm(), &bytes).await?;
                if actual != *claimed {
                    return Err(Error::ManifestDigestMismatch {
                        claimed: *claimed,
                        actual,
                    });
                }
                actual
            }
        };
        let notices = self.validate(repository, &manifest).await?;
        let entry = self.referrer_entry(digest, &manifest, &bytes).await?;
        let by_tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        let push = ManifestPush {
            repository,
            digest,
            canonical,
            bytes: &bytes,
            manifest: &manifest,
            entry,
            tags: by_tag.into_iter().chain(tags).collect(),
        };
        self.publish(&push).await?;
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        Ok(PushedManifest {
            digest,
            subject,
            notices,
        })
    }

    /// Writes the objects that make a manifest reachable, and writes again what a deletion at the same time removed:
    /// see [`super::concurrent_deletion`].
    async fn publish(&self, push: &ManifestPush<'_>) -> Result<(), Error> {
        let ManifestPush {
            repository,
            digest,
            canonical,
            bytes,
            manifest,
            entry,
            tags,
        } = push;
        let payload = ObjectPath::blob_data(canonical).key();
        let mut met_deletion = false;
        for _ in 0..ATTEMPTS_MAX {
            self.driver
                .put(
                    &payload,
                    Bytes::clone(bytes),
                    Mode::Replace,
                    Durability::PowerLoss,
                )
                .await
                .map_err(Error::storage("store a manifest"))?;
            // The entry before the link: a client that sees the manifest also finds it among the referrers of its
            // subject.
            if let Some(entry) = entry {
                self.index_referrer(repository, *digest, entry.clone()).await?;
            }
            self.link_manifest(repository, *digest, *canonical).await?;
            self.mark_referrers_known(repository, [*digest, *canonical])
                .await?;
            if !met_deletion {
                met_deletion = self.has_recent_deletion(repository).await?;
                if met_deletion {
                    // Before a tag is set: the content that the manifest refers to may have been deleted before the
                    // reference could be seen. Content that is deleted later is deleted although it is referred to.
                    self.validate(repository, manifest).await?;
                }
            }
            for tag in tags {
                self.put_tag(repository, tag, digest).await?;
            }
            if !met_deletion && !tags.is_empty() {
                met_deletion = self.has_recent_deletion(repository).await?;
            }
            if !met_deletion || self.is_published(push).await? {
                return Ok(());
            }
        }
        // Somebody deletes the manifest all the time.
        Err(Error::storage("push a manifest that is being deleted")(
            storage::Error::Busy { key: payload },
        ))
    }

    /// Whether everything that a push wrote exists, or what others wrote in its place.
    async fn is_published(&self, push: &ManifestPush<'_>) -> Result<bool, Error> {
        for path in push.paths() {
            if !self.is_in_place(&path).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A manifest by tag or digest, in a type that the client accepts, or an OCI index. When a client that does not
    /// know lists asks for a Docker manifest list by tag, the answer is the list's linux/amd64 child, as in
    /// distribution.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::ManifestNotAccepted`], or the store's.
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        accepts: &Accepts,
    ) -> Result<StoredManifest, Error> {
        self.find_manifest(repository, reference, accepts, Consistency::Cached)
            .await
    }

    /// The same for a client that only asks whether the manifest exists and may then not push it. The answer comes from
    /// the store.
    ///
    /// # Errors
    /// As [`Registry::get_manifest`].
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        accepts: &Accepts,
    ) -> Result<StoredManifest, Error> {
        let stored = self
            .find_manifest(repository, reference, accepts, Consistency::Strong)
            .await?;
        let mut keys = vec![ObjectPath::revision_link(repository, &stored.digest).key()];
        if let Reference::Tag(tag) = reference {
            keys.push(ObjectPath::tag_current(repository, tag).key());
        }
        if stored.digest.algorithm() == Algorithm::Sha256 {
            keys.push(ObjectPath::blob_data(&stored.digest).key());
        }
        self.persist(&keys).await?;
        Ok(stored)
    }

    async fn find_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        accepts: &Accepts,
        consistency: Consistency,
    ) -> Result<StoredManifest, Error> {
        let unknown = || Error::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.clone(),
        };
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.tag_target(repository, tag).await?.ok_or_else(unknown)?,
        };
        let (stored, manifest) = self
            .load_whole_manifest(repository, &digest, consistency)
            .await?
            .ok_or_else(unknown)?;
        if accepts.allows(&stored.media_type) {
            return Ok(stored);
        }
        let refused = || Error::ManifestNotAccepted {
            reference: reference.clone(),
            media_type: stored.media_type.clone(),
        };
        match reference {
            Reference::Tag(_) if stored.media_type == MediaType::DOCKER_LIST => {
                let child = manifest.manifests.iter().find(|child| runs_on_linux_amd64(child));
                let child = child.ok_or_else(refused)?.digest;
                drop(manifest); // Two requests with two each could wait for each other.
                let (child, _) = self
                    .load_whole_manifest(repository, &child, consistency)
                    .await?
                    .ok_or_else(unknown)?;
                Ok(child)
            }
            // Docker's own types are served to every client, because clients older than the header accept nothing else.
            // So is an OCI index, as in registry:3.
            Reference::Tag(_) | Reference::Digest(_) if stored.media_type == MediaType::OCI_MANIFEST => {
                Err(refused())
            }
            Reference::Tag(_) | Reference::Digest(_) => Ok(stored),
        }
    }

    /// Reads a manifest for a client; a damaged one counts as missing. A client that pushes it first asks whether it
    /// exists, and would never send it again if the answer were an error. A client that pulls it goes on to the next
    /// mirror.
    async fn load_whole_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        consistency: Consistency,
    ) -> Result<Option<(StoredManifest, ParsedManifest)>, Error> {
        match self.load_manifest_by(repository, digest, consistency).await {
            Err(error @ (Error::Corrupt { .. } | Error::StoredManifest { .. })) => {
                if self.warn_once.is_first(&ObjectPath::blob_data(digest).key()) {
                    tracing::error!(%repository, %digest, error = crate::fault::chain(&error), "a manifest is damaged and counts as missing");
                }
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Reads a manifest; nothing when the repository has none under this digest.
    pub(super) async fn load_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(StoredManifest, ParsedManifest)>, Error> {
        self.load_manifest_by(repository, digest, Consistency::Strong)
            .await
    }

    async fn load_manifest_by(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        consistency: Consistency,
    ) -> Result<Option<(StoredManifest, ParsedManifest)>, Error> {
        let link = link(repository, digest);
        let (canonical, resolved) = match consistency {
            Consistency::Strong => (self.manifest_link_target(repository, digest).await?, None),
            Consistency::Cached => {
                let resolved = self.resolve_link(&link).await?;
                (resolved.as_ref().map(|resolved| resolved.canonical), resolved)
            }
        };
        let Some(canonical) = canonical else {
            return Ok(None);
        };
        let Some(bytes) = self.manifest_bytes(&canonical).await? else {
            if let Some(resolved) = resolved {
                self.invalidate_stale(&link, &resolved).await;
            }
            return Ok(None);
        };
        let damaged = |source| Error::StoredManifest {
            digest: *digest,
            source,
        };
        let manifest = self.parser.parse(&bytes, None, damaged).await?;
        if let Some(resolved) = resolved {
            let (size, media_type) = (bytes.len() as u64, manifest.media_type.clone());
            self.cache_link(&link, resolved, size, media_type).await;
        }
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        Ok(Some((
            StoredManifest {
                digest: *digest,
                media_type: manifest.media_type.clone(),
                bytes,
                subject,
            },
            manifest,
        )))
    }

    /// The payload of a manifest, checked against its digest: it is small, and a damaged one must not be served.
    pub(super) async fn manifest_bytes(&self, canonical: &Digest) -> Result<Option<Bytes>, Error> {
        let key = ObjectPath::blob_data(canonical).key();
        let bytes = match self.driver.get(&key, STORED_MAX).await {
            Ok(bytes) => bytes,
            Err(storage::Error::NotFound { .. }) => return Ok(None),
            Err(source) => {
                return Err(Error::Storage {
                    doing: "read a manifest",
                    source,
                });
            }
        };
        if hashing::digest(canonical.algorithm(), &bytes).await? == *canonical {
            Ok(Some(bytes))
        } else {
            Err(Error::Corrupt { digest: *canonical })
        }
    }
}

fn link<'a>(repository: &'a RepositoryName, digest: &'a Digest) -> Link<'a> {
    Link {
        kind: LinkKind::Manifest,
        repository,
        digest,
    }
}

fn runs_on_linux_amd64(child: &Descriptor) -> bool {
    child
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "linux" && platform.architecture == "amd64")
}
