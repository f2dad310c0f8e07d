//! Upload sessions whose bytes are appended to a file, in distribution's layout: the file of bytes, the time when the
//! session began, and the state of the hash. Bytes are only ever appended, by one writer at a time.
//!
//! Must not: remove bytes that came, unless the session is cancelled or its bytes have another digest.
//! Start at [`AppendUploads`].

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use registry_oci::{Algorithm, Digest, Hasher, RepositoryName, UploadId};
use tokio::time::Instant;

use super::backend::{Body, UploadBackend};
use super::errors::{body_error, digest_mismatch, store_error};
use super::session::{Chunk, Offset, Progress, Session};
use super::session_lock::LOCK_TIMEOUT;
use crate::registry::store_body::store_body;
use crate::registry::{BlobDescriptor, Error, Registry};
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Append, Durability, Mode, Staged, Writer};

/// The longest pause between two attempts to get a lock that another replica has.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Upload sessions of a store that appends.
pub(super) struct AppendUploads<'a> {
    registry: &'a Registry,
    store: &'a dyn Append,
}

/// A session that is open for writing, with the hash over its bytes.
struct OpenSession {
    writer: Box<dyn Writer>,
    hasher: Hasher,
    /// How many bytes the hash covered when the request began.
    saved: u64,
}

impl<'a> AppendUploads<'a> {
    pub(super) fn new(registry: &'a Registry, store: &'a dyn Append) -> Self {
        Self { registry, store }
    }
}

#[async_trait]
impl UploadBackend for AppendUploads<'_> {
    async fn start(&self, repository: &RepositoryName) -> Result<Progress, Error> {
        let id = UploadId::unique();
        let failed = Error::storage("begin an upload");
        // Both files, as distribution has them, so that either server can continue the session.
        self.store
            .stage(&ObjectPath::upload_data(repository, &id).key(), Staged::New)
            .await
            .map_err(&failed)?;
        let started = ObjectPath::upload_started_at(repository, &id).key();
        // Seconds, as Go's `time.RFC3339` has them.
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.registry
            .driver
            .put(&started, Bytes::from(now), Mode::Replace, Durability::Crash)
            .await
            .map_err(failed)?;
        Ok(progress(&id, 0))
    }

    async fn progress(&self, repository: &RepositoryName, session: Session<'_>) -> Result<Progress, Error> {
        let id = session.id;
        match self
            .registry
            .driver
            .stat(&ObjectPath::upload_data(repository, id).key())
            .await
        {
            Ok(found) => Ok(progress(id, found.size)),
            Err(source) => Err(store_error("look for an upload", repository, id, source)),
        }
    }

    async fn append(
        &self,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        body: Body,
    ) -> Result<Progress, Error> {
        let id = session.id;
        let mut open = self.store_chunk(repository, id, chunk, body).await?;
        self.save(repository, id, &mut open).await?;
        Ok(progress(id, open.writer.size()))
    }

    async fn finish(
        &self,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        digest: &Digest,
        body: Body,
    ) -> Result<BlobDescriptor, Error> {
        let id = session.id;
        let OpenSession {
            writer,
            hasher,
            saved,
        } = self.store_chunk(repository, id, chunk, body).await?;
        let size = writer.size();
        let canonical = hasher.digest();
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => canonical,
            Algorithm::Sha512 => self.registry.sha512_of_upload(repository, id).await?,
        };
        let staged = ObjectPath::upload_data(repository, id).key();
        if saved == size {
            // The request had no bytes, so the session may be old enough for a purge, which could remove it in the
            // moment in which nobody has it open.
            self.registry
                .driver
                .touch(&staged)
                .await
                .map_err(|source| store_error("continue an upload", repository, id, source))?;
        }
        drop(writer);
        if actual != *digest {
            self.registry.remove_upload(repository, id).await?;
            return Err(digest_mismatch(repository, id, digest, actual));
        }
        // Publishing checks the size again under the lock, so bytes that were appended since the hash was taken would
        // be noticed.
        let target = ObjectPath::blob_data(&canonical).key();
        let published = retry_while_locked(|| self.store.publish(&staged, &target, size))
            .await
            .map_err(|source| store_error("store a blob", repository, id, source));
        self.remove_if_lost(repository, id, published).await?;
        let blob = BlobDescriptor {
            digest: *digest,
            canonical,
            size,
            modified: SystemTime::now(),
        };
        self.registry.link_blob(repository, &blob).await?;
        if let Err(error) = self.registry.remove_upload(repository, id).await {
            // The blob is stored. The next purge removes what is left of the session.
            tracing::warn!(%repository, %id, %error, "a finished upload could not be cleaned up");
        }
        Ok(blob)
    }

    async fn cancel(&self, repository: &RepositoryName, session: Session<'_>) -> Result<(), Error> {
        self.progress(repository, session).await?;
        self.registry.remove_upload(repository, session.id).await
    }

    async fn remove_abandoned(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        _age: Duration,
    ) -> Result<bool, Error> {
        self.registry.remove_upload(repository, id).await.map(|()| true)
    }
}

impl AppendUploads<'_> {
    /// Removes what is left of a session whose bytes the disk has lost. Later bytes cannot be trusted either, so its
    /// client begins again.
    async fn remove_if_lost(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        if let Err(Error::Storage {
            source: storage::Error::Lost { .. },
            ..
        }) = &result
            && let Err(error) = self.registry.remove_upload(repository, id).await
        {
            tracing::warn!(%repository, %id, %error, "an upload whose bytes were lost could not be cleaned up");
        }
        result
    }

    /// Opens the session, continues its hash and stores the body. Returns with the writer still open, so that nobody
    /// appends before the caller is done.
    async fn store_chunk(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        chunk: Chunk,
        mut body: Body,
    ) -> Result<OpenSession, Error> {
        let mut writer = self.open(repository, id, chunk.offset).await?;
        let mut hasher = self.registry.resume_hash(repository, id, writer.size()).await?;
        let saved = hasher.length();
        let memory = &self.registry.settings.request_memory;
        let stored = store_body(memory, writer.as_mut(), &mut hasher, &mut body).await?;
        let error = body_error(id, writer.size(), stored, chunk.length);
        let mut open = OpenSession {
            writer,
            hasher,
            saved,
        };
        match error {
            None => Ok(open),
            Some(error) => {
                self.save(repository, id, &mut open).await?;
                Err(error)
            }
        }
    }

    /// Saves the hash for the next request, and looks whether the session still exists: it may be cancelled while it is
    /// written to, and then its bytes are nowhere.
    async fn save(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        open: &mut OpenSession,
    ) -> Result<(), Error> {
        let OpenSession {
            writer,
            hasher,
            saved,
        } = open;
        let kept = self
            .registry
            .save_hash(repository, id, hasher, *saved, writer.as_mut())
            .await;
        self.remove_if_lost(repository, id, kept).await?;
        // After the state is saved, not before: either this look finds the session gone, or the cancelling request
        // removes the state too.
        let found = self.progress(repository, id.into()).await;
        if let Err(Error::UploadUnknown { .. }) = &found {
            self.registry.remove_upload(repository, id).await?;
        }
        found.map(drop)
    }

    async fn open(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        offset: Offset,
    ) -> Result<Box<dyn Writer>, Error> {
        let key = ObjectPath::upload_data(repository, id).key();
        let staged = match offset {
            Offset::At(offset) => Staged::At(offset),
            Offset::End => Staged::AtEnd,
        };
        retry_while_locked(|| self.store.stage(&key, staged))
            .await
            .map_err(|source| store_error("open an upload", repository, id, source))
    }
}

fn progress(id: &UploadId, size: u64) -> Progress {
    Progress {
        id: id.clone(),
        size,
        resume: None,
    }
}

/// Tries again for a while when another replica has the session open. Requests of this process wait for the session
/// lock before they come here.
async fn retry_while_locked<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, storage::Error>
where
    F: Future<Output = Result<T, storage::Error>>,
{
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let mut pause = Duration::from_millis(10);
    loop {
        match attempt().await {
            // No process of this machine can tell when the other replica closes the session.
            Err(storage::Error::Busy { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            result => return result,
        }
    }
}
