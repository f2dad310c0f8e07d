//! Manifests ("Pulling manifests", "Pushing manifests" and "Deleting manifests", OCI distribution 1.1).

use bytes::Bytes;
use registry_oci::{Algorithm, Descriptor, Digest, MANIFEST_MAX, MediaType, Reference, RepositoryName, Tag};

use super::parsing::Parsed;
use super::recall::Word;
use super::uploads::detached;
use super::{Error, Notice, Registry, hashing};
use crate::cache::{Kind, Link};
use crate::storage::layout::{Area, Place};
use crate::storage::{self, Durability, Mode};

/// Stored manifests may be larger than what is accepted today: other servers had other limits.
pub(super) const STORED_MAX: u64 = 4 * MANIFEST_MAX as u64;

/// A manifest as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The digest it is known by: the one asked for, or the one the tag means.
    pub digest: Digest,
    /// The type it is served as.
    pub media_type: MediaType,
    /// What was pushed, byte for byte.
    pub bytes: Bytes,
    /// What it refers to.
    pub subject: Option<Digest>,
}

/// A manifest that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest it is known by.
    pub digest: Digest,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// What its pusher should know.
    pub notices: Vec<Notice>,
}

/// Which types a client takes.
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
    /// Stores a manifest under its digest and points `tags` at it, and the tag it is pushed by.
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
    ) -> Result<Pushed, Error> {
        if bytes.len() > MANIFEST_MAX {
            return Err(Error::ManifestTooLarge {
                size: bytes.len() as u64,
                limit: MANIFEST_MAX as u64,
            });
        }
        let manifest = self
            .parse_manifest(&bytes, Some(media_type))
            .await?
            .map_err(|source| Error::ManifestInvalid { source })?;
        let stored_as = hashing::digest(Algorithm::Sha256, &bytes).await?;
        let digest = match reference {
            Reference::Tag(_) => stored_as,
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
        let referrer = self.referrer_entry(digest, &manifest, &bytes).await?;
        self.driver
            .put(
                &Place::BlobData { digest: stored_as }.key(),
                bytes.clone(),
                Mode::Replace,
                Durability::PowerLoss,
            )
            .await
            .map_err(Error::storage("store a manifest"))?;
        // The entry before the link: whoever sees the manifest finds it among the referrers of its subject.
        if let Some(entry) = referrer {
            self.index_referrer(repository, digest, entry).await?;
        }
        self.grant_manifest(repository, digest, stored_as).await?;
        self.mark_referrers_known(repository, [digest, stored_as]).await?;
        let by_tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        for tag in by_tag.into_iter().chain(tags) {
            self.put_tag(repository, tag, &digest).await?;
        }
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        Ok(Pushed {
            digest,
            subject,
            notices,
        })
    }

    /// A manifest by tag or digest, in a type the client takes, or an OCI index. A Docker manifest list asked for by tag by a
    /// client that does not know lists is answered with its linux/amd64 child, as distribution does.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::ManifestNotAccepted`], or the store's.
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        accepts: &Accepts,
    ) -> Result<Stored, Error> {
        self.find_manifest(repository, reference, accepts, Word::Cache)
            .await
    }

    /// The same for whoever only wants to know whether it is there, and may not push it then: the store's word.
    ///
    /// # Errors
    /// As [`Registry::get_manifest`].
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        accepts: &Accepts,
    ) -> Result<Stored, Error> {
        let stored = self
            .find_manifest(repository, reference, accepts, Word::Store)
            .await?;
        let mut keys = vec![
            Place::RevisionLink {
                repository: repository.clone(),
                digest: stored.digest,
            }
            .key(),
        ];
        if let Reference::Tag(tag) = reference {
            let (repository, tag) = (repository.clone(), tag.clone());
            keys.push(Place::TagCurrent { repository, tag }.key());
        }
        if stored.digest.algorithm() == Algorithm::Sha256 {
            let digest = stored.digest;
            keys.push(Place::BlobData { digest }.key());
        }
        self.persist(&keys).await?;
        Ok(stored)
    }

    async fn find_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        accepts: &Accepts,
        word: Word,
    ) -> Result<Stored, Error> {
        let unknown = || Error::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.clone(),
        };
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.tag_target(repository, tag).await?.ok_or_else(unknown)?,
        };
        let (stored, manifest) = self
            .load_whole_manifest(repository, &digest, word)
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
                drop(manifest); // Two at a time could wait for each other's turn.
                let (child, _) = self
                    .load_whole_manifest(repository, &child, word)
                    .await?
                    .ok_or_else(unknown)?;
                Ok(child)
            }
            // Docker's own types are served to everybody: clients older than the header take nothing else. So is an
            // OCI index, as by registry:3.
            Reference::Tag(_) | Reference::Digest(_) if stored.media_type == MediaType::OCI_MANIFEST => {
                Err(refused())
            }
            Reference::Tag(_) | Reference::Digest(_) => Ok(stored),
        }
    }

    /// Takes a manifest away, with every tag that means it. Its payload stays for the garbage collection. Once begun it
    /// goes on to its end, also when the client that asked is gone.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Forget`], or the store's.
    pub async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let (registry, repository, digest) = (self.clone(), repository.clone(), *digest);
        detached(async move { registry.remove_manifest(&repository, &digest).await }).await
    }

    pub(super) async fn remove_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        let link = Place::RevisionLink {
            repository: repository.clone(),
            digest: *digest,
        };
        let Some((target, _)) = self.read_raw_link(&link).await? else {
            // The answer to the last attempt may have been that it could not be forgotten.
            self.forget_place(&link).await?;
            let reference = Reference::Digest(*digest);
            return Err(Error::ManifestUnknown {
                repository: repository.clone(),
                reference,
            });
        };
        // One whose link was emptied by a crash is not served, but can be deleted like any other.
        let stored_as = target.unwrap_or(*digest);
        // The same bytes may be known under two algorithms: deleted is deleted under both.
        let mut names = vec![*digest];
        if stored_as != *digest {
            names.push(stored_as);
        } else if let Some(other) = self.other_name(repository, &stored_as).await? {
            names.push(other);
        }
        let forget = async || {
            for name in &names {
                self.forget(&self::link(repository, name)).await?;
            }
            Ok(())
        };
        forget().await?;
        // The tags first, and the digest that was asked for last: what breaks off in the middle can be asked for
        // again, and no tag is left that means nothing.
        for name in &names {
            self.remove_tags_of(repository, name).await?;
        }
        for name in &names {
            self.forget_referrer(repository, name, &stored_as).await?;
        }
        for name in names.iter().rev() {
            let area = Area::Revision(repository, name).key();
            self.driver
                .delete_tree(&area, Durability::PowerLoss)
                .await
                .map_err(Error::storage("delete the link of a manifest"))?;
        }
        forget().await
    }

    /// Reads a manifest for a client; a damaged one is none. Whoever pushes it asks first whether it is there, and
    /// would never send it again if that were an error; whoever pulls it goes on to the next mirror.
    async fn load_whole_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        word: Word,
    ) -> Result<Option<(Stored, Parsed)>, Error> {
        match self.load_manifest_by(repository, digest, word).await {
            Err(error @ (Error::Corrupt { .. } | Error::StoredManifest { .. })) => {
                if self.broken.is_news(&Place::BlobData { digest: *digest }.key()) {
                    tracing::error!(%repository, %digest, error = crate::telemetry::chain(&error), "a manifest is damaged and counts as missing");
                }
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Reads a manifest a repository has; nothing when it has none under this digest.
    pub(super) async fn load_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Stored, Parsed)>, Error> {
        self.load_manifest_by(repository, digest, Word::Store).await
    }

    async fn load_manifest_by(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        word: Word,
    ) -> Result<Option<(Stored, Parsed)>, Error> {
        let link = link(repository, digest);
        let (stored_as, recalled) = match word {
            Word::Store => (self.revision(repository, digest).await?, None),
            Word::Cache => {
                let recalled = self.recall(&link).await?;
                (recalled.as_ref().map(|recalled| recalled.stored_as), recalled)
            }
        };
        let Some(stored_as) = stored_as else {
            return Ok(None);
        };
        let Some(bytes) = self.manifest_bytes(&stored_as).await? else {
            if let Some(recalled) = recalled {
                self.disown(&link, &recalled).await;
            }
            return Ok(None);
        };
        let manifest = self
            .parse_manifest(&bytes, None)
            .await?
            .map_err(|source| Error::StoredManifest {
                digest: *digest,
                source,
            })?;
        if let Some(recalled) = recalled {
            let (size, media_type) = (bytes.len() as u64, manifest.media_type.clone());
            self.remember(&link, recalled, size, media_type).await;
        }
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        Ok(Some((
            Stored {
                digest: *digest,
                media_type: manifest.media_type.clone(),
                bytes,
                subject,
            },
            manifest,
        )))
    }

    /// The payload of a manifest, checked against its digest: it is small, and a torn one must not be served.
    async fn manifest_bytes(&self, stored_as: &Digest) -> Result<Option<Bytes>, Error> {
        let key = Place::BlobData { digest: *stored_as }.key();
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
        if hashing::digest(stored_as.algorithm(), &bytes).await? == *stored_as {
            Ok(Some(bytes))
        } else {
            Err(Error::Corrupt { digest: *stored_as })
        }
    }

    /// The SHA-512 name of a manifest, if the repository knows it by one. Of damaged bytes it cannot be told; such
    /// a manifest can be deleted all the same, and under the other name it is not served.
    async fn other_name(
        &self,
        repository: &RepositoryName,
        stored_as: &Digest,
    ) -> Result<Option<Digest>, Error> {
        let bytes = match self.manifest_bytes(stored_as).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(Error::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let other = hashing::digest(Algorithm::Sha512, &bytes).await?;
        Ok(self.revision(repository, &other).await?.map(|_| other))
    }
}

fn link<'a>(repository: &'a RepositoryName, digest: &'a Digest) -> Link<'a> {
    Link {
        kind: Kind::Manifest,
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
