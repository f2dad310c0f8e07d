//! Pulls, mounts and deletes blobs ("Pulling blobs", "Mounting a blob from another repository" and "Deleting blobs",
//! OCI distribution 1.1).

use std::ops::Range;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use registry_oci::{Digest, MediaType, RepositoryName};

use super::{BlobDescriptor, Error, Registry};
use crate::cache::{Link, LinkKind};
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::{self, Content, Durability, LargeWrite, ReadRange};

/// How many parts of a blob are opened ahead, where opening one is a request to another machine.
const PARTS_AHEAD: usize = 4;

/// An opened blob.
#[derive(Debug)]
pub struct Blob {
    /// The digest by which it was asked for.
    pub digest: Digest,
    /// Its bytes, or the part that was asked for.
    pub content: Content,
}

impl Registry {
    /// Whether a repository has a blob, and its size.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], or the store's.
    pub async fn head_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobDescriptor, Error> {
        self.linked_blob(repository, digest)
            .await?
            .ok_or_else(|| unknown(repository, digest))
    }

    /// A URL under which the client can fetch a blob from the store itself, if the store has such URLs.
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
        let link = link(repository, digest);
        let resolved = self
            .resolve_link(&link)
            .await?
            .ok_or_else(|| unknown(repository, digest))?;
        let payload = ObjectPath::blob_data(&resolved.canonical);
        let key = payload.key();
        // A link without a payload is rare, and then the store tells the client. The size is only looked up for a
        // shared cache, which has to remember it, and only once.
        if self.needs_size(&resolved) {
            let found = self.driver.try_stat(&key).await.map_err(&failed)?;
            let found = found.filter(|found| self.is_plausible_size(&resolved.canonical, found.size));
            let Some(found) = found else {
                return Err(unknown(repository, digest));
            };
            self.cache_link(&link, resolved, found.size, MediaType::OCTET_STREAM)
                .await;
        } else {
            self.cache_target(&link, resolved);
        }
        self.driver.redirect(&key).await.map_err(failed)
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
        let link = link(repository, digest);
        let resolved = self
            .resolve_link(&link)
            .await?
            .ok_or_else(|| unknown(repository, digest))?;
        let payload = ObjectPath::blob_data(&resolved.canonical);
        let is_truncated = |size| !self.is_plausible_size(&resolved.canonical, size);
        match self.driver.read(&payload.key(), range).await {
            Ok(content) if is_truncated(content.size) => Err(unknown(repository, digest)),
            Err(storage::Error::RangeNotSatisfiable { size, .. }) if is_truncated(size) => {
                Err(unknown(repository, digest))
            }
            Ok(content) => {
                self.cache_link(&link, resolved, content.size, MediaType::OCTET_STREAM)
                    .await;
                Ok(Blob {
                    digest: *digest,
                    content,
                })
            }
            Err(storage::Error::NotFound { .. }) => {
                self.invalidate_stale(&link, &resolved).await;
                Err(unknown(repository, digest))
            }
            Err(storage::Error::RangeNotSatisfiable { size, .. }) => Err(Error::RangeNotSatisfiable { size }),
            Err(source) => Err(Error::Storage {
                doing: "open a blob",
                source,
            }),
        }
    }

    /// Parts of a blob, opened one after the other as the stream is read.
    pub fn blob_parts(
        &self,
        blob: &BlobDescriptor,
        parts: Vec<Range<u64>>,
    ) -> BoxStream<'static, Result<Content, storage::Error>> {
        let key = ObjectPath::blob_data(&blob.canonical).key();
        // A file opens at once. A request to another machine takes time, so a few parts are opened ahead.
        let ahead = match self.driver.large_write() {
            LargeWrite::Append(_) => 1,
            LargeWrite::Multipart(_) => PARTS_AHEAD,
        };
        let driver = Arc::clone(&self.driver);
        stream::iter(parts)
            .map(move |part| {
                let (driver, key) = (Arc::clone(&driver), key.clone());
                async move {
                    driver
                        .read(&key, ReadRange::Between(part.start, part.end - 1))
                        .await
                }
            })
            .buffered(ahead)
            .boxed()
    }

    /// Links a blob of another repository to a repository; without `from`, and where the settings allow it, a blob of
    /// any repository. `None` when there is nothing to mount: the client then uploads the blob.
    ///
    /// # Errors
    /// The store's.
    pub async fn mount_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<Option<BlobDescriptor>, Error> {
        let blob = match from {
            Some(from) => self.linked_blob(from, digest).await?,
            None if self.settings.mount_anywhere => self.blob_of_any_repository(digest).await?,
            None => None,
        };
        if let Some(blob) = &blob {
            self.link_blob(repository, blob).await?;
        }
        Ok(blob)
    }

    /// Removes the link of a repository to a blob. The payload stays, because other repositories may link it: the
    /// garbage collection removes it.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::CacheInvalidation`], or the store's.
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let link = link(repository, digest);
        // Also when there is no link: the last attempt may have failed because the cache could not be reached.
        self.invalidate(&link).await?;
        if self.blob_link_target(repository, digest).await?.is_none() {
            return Err(unknown(repository, digest));
        }
        self.record_deletion(repository).await?;
        self.driver
            .delete_tree(
                &PathPrefix::Layer(repository, digest).key(),
                Durability::PowerLoss,
            )
            .await
            .map_err(Error::storage("delete the link of a blob"))?;
        self.invalidate(&link).await
    }
}

fn link<'a>(repository: &'a RepositoryName, digest: &'a Digest) -> Link<'a> {
    Link {
        kind: LinkKind::Blob,
        repository,
        digest,
    }
}

fn unknown(repository: &RepositoryName, digest: &Digest) -> Error {
    Error::BlobUnknown {
        repository: repository.clone(),
        digest: *digest,
    }
}
