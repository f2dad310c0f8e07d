//! Blobs: pull, mount, delete ("Pulling blobs", "Mounting a blob from another repository" and "Deleting blobs",
//! OCI distribution 1.1).

use registry_oci::{Digest, RepositoryName};

use super::{Error, Held, Registry};
use crate::storage::layout::{Area, Place};
use crate::storage::{self, Content, Durability, ReadRange};

/// An opened blob.
#[derive(Debug)]
pub struct Blob {
    /// The digest it was asked for by.
    pub digest: Digest,
    /// Its bytes, or the asked part of them.
    pub content: Content,
}

impl Registry {
    /// Whether a repository has a blob, and its size.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], or the store's.
    pub async fn head_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Held, Error> {
        self.held(repository, digest)
            .await?
            .ok_or_else(|| unknown(repository, digest))
    }

    /// A URL of the store itself for a blob that is there, if the store has such.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], or the store's.
    pub async fn redirect_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<String>, Error> {
        let failed = Error::storage("make a URL for a blob");
        if !self.driver.redirects() {
            return Ok(None);
        }
        let held = self.head_blob(repository, digest).await?;
        let key = Place::BlobData {
            digest: held.stored_as,
        };
        self.driver.redirect(&key.key()).await.map_err(failed)
    }

    /// Opens a blob or a part of it.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::RangeNotSatisfiable`], or the store's.
    pub async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: ReadRange,
    ) -> Result<Blob, Error> {
        let stored_as = self
            .granted(repository, digest)
            .await?
            .ok_or_else(|| unknown(repository, digest))?;
        match self
            .driver
            .read(&Place::BlobData { digest: stored_as }.key(), range)
            .await
        {
            Ok(content) => Ok(Blob {
                digest: *digest,
                content,
            }),
            Err(storage::Error::NotFound { .. }) => Err(unknown(repository, digest)),
            Err(storage::Error::RangeNotSatisfiable { size, .. }) => Err(Error::RangeNotSatisfiable { size }),
            Err(source) => Err(Error::Storage {
                doing: "open a blob",
                source,
            }),
        }
    }

    /// Grants a repository a blob that another one has, or, without `from` and where the settings allow it, that
    /// any other has. `None` when there is nothing to mount: the client then uploads the blob.
    ///
    /// # Errors
    /// The store's.
    pub async fn mount_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<Option<Held>, Error> {
        let held = match from {
            Some(from) => self.held(from, digest).await?,
            None if self.settings.mount_anywhere => self.stored_anywhere(digest).await?,
            None => None,
        };
        if let Some(held) = &held {
            self.grant_blob(repository, held).await?;
        }
        Ok(held)
    }

    /// Takes a blob away from a repository. Its payload stays: other repositories may have it, and the garbage
    /// collection knows.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], or the store's.
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        if self.granted(repository, digest).await?.is_none() {
            return Err(unknown(repository, digest));
        }
        self.driver
            .delete_tree(&Area::Layer(repository, digest).key(), Durability::PowerLoss)
            .await
            .map_err(Error::storage("delete the link of a blob"))
    }
}

fn unknown(repository: &RepositoryName, digest: &Digest) -> Error {
    Error::BlobUnknown {
        repository: repository.clone(),
        digest: *digest,
    }
}
