//! The one door for everything that makes content reachable or answers "I have it".
//!
//! A garbage collection beside running pushes is safe only if it learns of both: of each link that makes content
//! reachable, and of each answer on which a client relies to skip a transfer. No other file of this room writes a
//! layer or revision link, or tells a client that a blob is there without sending it. Sending a blob's bytes is no
//! such answer: a reader keeps what it opened.

use std::time::SystemTime;

use registry_oci::{Algorithm, Digest, RepositoryName};

use super::{Error, Registry};
use crate::storage::layout::Place;

/// A blob that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The digest it was asked for by.
    pub digest: Digest,
    /// The digest its payload is stored under; another one when it was asked for by SHA-512.
    pub stored_as: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When its payload was written last.
    pub modified: SystemTime,
}

impl Registry {
    /// The blob, if the repository was granted it and its payload is there. The answer always comes from the
    /// store: a client that believes it will not send the blob.
    pub(super) async fn held(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Held>, Error> {
        match self.granted(repository, digest).await? {
            Some(stored_as) => self.stored(digest, stored_as).await,
            None => Ok(None),
        }
    }

    /// What a repository's link for a blob says its payload is stored under.
    pub(super) async fn granted(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Digest>, Error> {
        self.read_link(&Place::LayerLink {
            repository: repository.clone(),
            digest: *digest,
        })
        .await
    }

    /// The blob, if its payload is in the store, whoever was granted it.
    pub(super) async fn stored(&self, digest: &Digest, stored_as: Digest) -> Result<Option<Held>, Error> {
        match self
            .driver
            .stat(&Place::BlobData { digest: stored_as }.key())
            .await
        {
            Ok(found) => Ok(Some(Held {
                digest: *digest,
                stored_as,
                size: found.size,
                modified: found.modified,
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(Error::Storage {
                doing: "look for a blob",
                source,
            }),
        }
    }

    /// The blob, whoever was granted it, by any digest it was ever pushed under.
    pub(super) async fn stored_anywhere(&self, digest: &Digest) -> Result<Option<Held>, Error> {
        let stored_as = match digest.algorithm() {
            Algorithm::Sha256 => Some(*digest),
            Algorithm::Sha512 => self.read_link(&Place::BlobAlias { digest: *digest }).await?,
        };
        match stored_as {
            Some(stored_as) => self.stored(digest, stored_as).await,
            None => Ok(None),
        }
    }

    /// Grants a repository a blob whose payload is in the store.
    pub(super) async fn grant_blob(&self, repository: &RepositoryName, held: &Held) -> Result<(), Error> {
        if held.digest != held.stored_as {
            self.write_link(&Place::BlobAlias { digest: held.digest }, &held.stored_as)
                .await?;
        }
        for digest in both(held.digest, held.stored_as) {
            let place = Place::LayerLink {
                repository: repository.clone(),
                digest,
            };
            self.write_link(&place, &held.stored_as).await?;
        }
        Ok(())
    }

    /// Whether a repository has a manifest under this digest, and under which one its payload is stored.
    pub(super) async fn revision(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Digest>, Error> {
        self.read_link(&Place::RevisionLink {
            repository: repository.clone(),
            digest: *digest,
        })
        .await
    }

    /// Lets a repository have a manifest whose payload is in the store.
    pub(super) async fn grant_manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        stored_as: Digest,
    ) -> Result<(), Error> {
        for digest in both(digest, stored_as) {
            let place = Place::RevisionLink {
                repository: repository.clone(),
                digest,
            };
            self.write_link(&place, &stored_as).await?;
        }
        Ok(())
    }
}

/// The digest content is stored under first, then the one it was sent as if that is another: distribution finds
/// content by the first alone.
fn both(digest: Digest, stored_as: Digest) -> impl Iterator<Item = Digest> {
    [
        Some(stored_as),
        Some(digest).filter(|digest| *digest != stored_as),
    ]
    .into_iter()
    .flatten()
}
