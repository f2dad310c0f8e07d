//! Multipart uploads of a bucket.

use async_trait::async_trait;
use bytes::Bytes;
#[cfg(feature = "s3")]
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
#[cfg(feature = "s3")]
use object_store::multipart::MultipartStore as _;
use object_store::multipart::PartId;
use object_store::{CopyOptions, PutMode, PutOptions, PutPayload, UpdateVersion};

#[cfg(any(feature = "azure", feature = "gcs"))]
use super::part_objects;
#[cfg(feature = "s3")]
use super::s3::S3Calls;
use super::store::{Object, Vendor};
use super::{classify, part_size};
#[cfg(any(feature = "azure", feature = "gcs"))]
use crate::storage::layout::PathPrefix;
use crate::storage::{Error, Expected, Multipart, ObjectVersion, StorageKey, UnfinishedUpload};

#[async_trait]
impl Multipart for Object {
    fn part_size(&self, offset: u64) -> u64 {
        part_size::part_size(self.part, offset)
    }

    async fn check_reachable(&self) -> Result<(), Error> {
        if self.classifier.store_health.problem().is_none() {
            return Ok(());
        }
        self.list_top().await
    }

    async fn begin(&self, key: &StorageKey) -> Result<String, Error> {
        let begun = self.clients.write.create_multipart(&self.path(key)?).await;
        begun.map_err(|error| self.classifier.classify("begin", key, error))
    }

    async fn put_part(
        &self,
        key: &StorageKey,
        upload: &str,
        number: usize,
        blocks: Vec<Bytes>,
    ) -> Result<String, Error> {
        let (path, upload) = (self.path(key)?, upload.to_owned());
        let stored = self
            .clients
            .long
            .put_part(&path, &upload, number, blocks.into_iter().collect());
        stored
            .await
            .map(|part| {
                self.classifier.note_write();
                part.content_id
            })
            .map_err(|error| self.classifier.classify("store a part of", key, error))
    }

    async fn complete(&self, key: &StorageKey, upload: &str, receipts: &[String]) -> Result<(), Error> {
        let (path, upload) = (self.path(key)?, upload.to_owned());
        let parts = receipts.iter().map(|receipt| PartId {
            content_id: receipt.clone(),
        });
        let completed = self
            .clients
            .long
            .complete_multipart(&path, &upload, parts.collect())
            .await;
        match completed.map_err(|error| self.classifier.classify("complete", key, error)) {
            Ok(_) => Ok(()),
            // Azure's error code for blocks that were committed already.
            Err(Error::Remote { source, .. }) if classify::says(&*source, &["InvalidBlockList"]) => {
                Err(Error::NotFound { key: key.clone() })
            }
            Err(error) => Err(error),
        }
    }

    async fn abort(&self, key: &StorageKey, upload: &str) -> Result<(), Error> {
        let (path, upload) = (self.path(key)?, upload.to_owned());
        match self.clients.quick.abort_multipart(&path, &upload).await {
            Ok(()) => Ok(()),
            Err(error) => match self.classifier.classify("abort", key, error) {
                Error::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn copy(&self, from: &StorageKey, to: &StorageKey, size: u64) -> Result<(), Error> {
        #[cfg(feature = "s3")]
        if let Vendor::S3(calls) = &self.vendor
            && size > calls.copy_whole_up_to()
        {
            return self.copy_in_parts(calls, from, to, size).await;
        }
        // Only S3 has a size above which one request copies nothing.
        #[cfg(not(feature = "s3"))]
        let _ = size;
        let (source, target) = (self.path(from)?, self.path(to)?);
        let copied = self
            .clients
            .write
            .copy_opts(&source, &target, CopyOptions::new())
            .await;
        copied.map_err(|error| self.classifier.classify("copy", from, error))
    }

    async fn put_blocks(
        &self,
        key: &StorageKey,
        blocks: Vec<Bytes>,
        expected: Expected<'_>,
    ) -> Result<ObjectVersion, Error> {
        let options = PutOptions {
            mode: match expected {
                Expected::Anything => PutMode::Overwrite,
                Expected::Nothing => PutMode::Create,
                Expected::Version(version) => PutMode::Update(UpdateVersion {
                    e_tag: version.e_tag.clone(),
                    version: version.number.clone(),
                }),
            },
            ..PutOptions::default()
        };
        let payload: PutPayload = blocks.into_iter().collect();
        let written = self.write(key, payload, options).await?;
        Ok(ObjectVersion {
            e_tag: written.e_tag,
            number: written.version,
        })
    }

    async fn get_version(&self, key: &StorageKey, limit: u64) -> Result<(Bytes, ObjectVersion), Error> {
        let (bytes, meta) = self.fetch(&*self.clients.quick, key, limit).await?;
        let version = ObjectVersion {
            e_tag: meta.e_tag,
            number: meta.version,
        };
        Ok((bytes, version))
    }

    async fn delete_all(&self, keys: &[StorageKey]) -> Result<(), Error> {
        let Some(first) = keys.first() else { return Ok(()) };
        let paths = keys.iter().map(|key| self.path(key)).collect::<Result<_, _>>()?;
        self.remove("delete", first, paths).await
    }

    async fn unfinished(&self) -> Result<Vec<UnfinishedUpload>, Error> {
        match &self.vendor {
            #[cfg(feature = "s3")]
            Vendor::S3(calls) => calls.unfinished(&self.prefix).await,
            #[cfg(feature = "azure")]
            // Azure removes uncommitted blocks after a week by itself, and does not list them.
            Vendor::Azure => part_objects::unfinished(&*self.clients.quick, &self.prefix)
                .await
                .map_err(|error| {
                    let top = PathPrefix::Parts.key();
                    self.classifier
                        .classify("list the unfinished uploads of", &top, error)
                }),
            #[cfg(feature = "gcs")]
            Vendor::Gcs => part_objects::unfinished(&*self.clients.quick, &self.prefix)
                .await
                .map_err(|error| {
                    let top = PathPrefix::Parts.key();
                    self.classifier
                        .classify("list the unfinished uploads of", &top, error)
                }),
        }
    }
}

#[cfg(feature = "s3")]
impl Object {
    /// Copies an object that is too large for one request.
    async fn copy_in_parts(
        &self,
        calls: &S3Calls,
        from: &StorageKey,
        to: &StorageKey,
        size: u64,
    ) -> Result<(), Error> {
        let failed = |error| self.classifier.classify("copy", from, error);
        let (source, target) = (self.path(from)?, self.path(to)?);
        let upload = calls.write.create_multipart(&target).await.map_err(failed)?;
        let pieces = size.div_ceil(calls.piece);
        let copied = stream::iter(0..pieces)
            .map(|number| {
                let start = number * calls.piece;
                let range = start..size.min(start + calls.piece);
                calls.copy_piece(&source, &target, &upload, number, range, from)
            })
            .buffered(calls.at_once)
            .try_collect::<Vec<_>>()
            .await;
        let completed = match copied {
            Ok(parts) => calls
                .store
                .complete_multipart(&target, &upload, parts)
                .await
                .map(drop)
                .map_err(failed),
            Err(error) => Err(error),
        };
        if completed.is_err()
            && let Err(error) = calls.store.abort_multipart(&target, &upload).await
        {
            tracing::debug!(%to, %error, "a copy that failed could not be aborted; the purge of uploads will");
        }
        completed
    }
}
