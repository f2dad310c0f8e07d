//! Upload sessions ("Pushing a blob monolithically" and "Pushing a blob in chunks", OCI distribution 1.1).
//!
//! A session lives in the store alone: any replica and a restarted server continue it. Its bytes are only ever
//! appended to, by one writer at a time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
use registry_oci::{Algorithm, Digest, RepositoryName, UploadId};
use tokio::time::Instant;

use super::receive::{BodyError, Received, receive};
use super::{Error, Held, Registry};
use crate::storage::layout::{Area, Place};
use crate::storage::{self, Durability, Mode, Staged, Writer};

/// How long a request waits for the one before it to let go of an upload: a client that reconnects is often
/// faster than the server at noticing that the old connection is gone.
const TAKEOVER: Duration = Duration::from_secs(5);

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The session.
    pub id: UploadId,
    /// How many bytes the store holds.
    pub size: u64,
}

/// What a client says about the bytes it is sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where they begin.
    pub offset: Offset,
    /// How many there are, if it says so.
    pub length: Option<u64>,
}

/// Where a chunk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// At this byte, which must be where the upload ends.
    At(u64),
    /// Wherever the upload ends.
    End,
}

impl Registry {
    /// Begins a session.
    ///
    /// # Errors
    /// The store's.
    pub async fn start_upload(&self, repository: &RepositoryName) -> Result<Progress, Error> {
        let id = UploadId::unique();
        let failed = Error::storage("begin an upload");
        // Both files, as distribution has them, so that either server can continue the session.
        self.driver
            .stage(&data(repository, &id).key(), Staged::New)
            .await
            .map_err(&failed)?;
        let place = Place::UploadStartedAt {
            repository: repository.clone(),
            id: id.clone(),
        };
        // Seconds, as Go's `time.RFC3339` has them.
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.driver
            .put(&place.key(), Bytes::from(now), Mode::Replace, Durability::Crash)
            .await
            .map_err(failed)?;
        Ok(Progress { id, size: 0 })
    }

    /// Where a session stands: what a crash at this moment would leave.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], or the store's.
    pub async fn upload_progress(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<Progress, Error> {
        match self.driver.stat(&data(repository, id).key()).await {
            Ok(found) => Ok(Progress {
                id: id.clone(),
                size: found.size,
            }),
            Err(source) => Err(upload_error("look for an upload", repository, id, source)),
        }
    }

    /// Appends a chunk. Whatever came is kept, even when the client goes away; and the work goes on to its end
    /// when this future is dropped.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadOffset`] before anything is stored;
    /// [`Error::UploadInterrupted`] and [`Error::UploadLength`] with what came stored; or the store's.
    pub async fn append_upload<B>(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        chunk: Chunk,
        body: B,
    ) -> Result<Progress, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static,
    {
        let (registry, repository, id) = (self.clone(), repository.clone(), id.clone());
        detached(async move {
            let (mut writer, hash) = registry.take_in(&repository, &id, chunk, body).await?;
            let Hash { hasher, saved } = hash;
            registry
                .keep(&repository, &id, &hasher, saved, writer.as_mut())
                .await?;
            Ok(Progress {
                size: writer.size(),
                id,
            })
        })
        .await
    }

    /// Appends what is left and turns the upload into a blob of the repository, if its bytes have the digest;
    /// otherwise the upload is cancelled. The work goes on to its end when this future is dropped.
    ///
    /// # Errors
    /// Those of [`Registry::append_upload`], and [`Error::DigestMismatch`].
    pub async fn finish_upload<B>(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        chunk: Chunk,
        digest: &Digest,
        body: B,
    ) -> Result<Held, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static,
    {
        let (registry, repository, id, digest) = (self.clone(), repository.clone(), id.clone(), *digest);
        detached(async move {
            let (writer, Hash { hasher, saved }) = registry.take_in(&repository, &id, chunk, body).await?;
            let size = writer.size();
            let stored_as = hasher.digest();
            let actual = match digest.algorithm() {
                Algorithm::Sha256 => stored_as,
                Algorithm::Sha512 => registry.sha512_of_upload(&repository, &id).await?,
            };
            if saved == size {
                // Nothing came with the request, and the session may be so old that a purge wants it in the moment
                // in which nobody has it open.
                registry
                    .driver
                    .refresh(&data(&repository, &id).key())
                    .await
                    .map_err(|source| upload_error("go on with an upload", &repository, &id, source))?;
            }
            drop(writer);
            if actual != digest {
                registry.remove_upload(&repository, &id).await?;
                return Err(Error::DigestMismatch {
                    repository,
                    id,
                    claimed: digest,
                    actual,
                });
            }
            // Publishing checks the size again under the lock, so bytes appended since the hash was taken would
            // be noticed.
            let target = Place::BlobData { digest: stored_as }.key();
            let staged = data(&repository, &id).key();
            let_go(|| registry.driver.publish(&staged, &target, size))
                .await
                .map_err(|source| upload_error("store a blob", &repository, &id, source))?;
            let held = Held {
                digest,
                stored_as,
                size,
                modified: std::time::SystemTime::now(),
            };
            registry.grant_blob(&repository, &held).await?;
            if let Err(error) = registry.remove_upload(&repository, &id).await {
                // The blob is there; what is left of the session is a matter for the next purge.
                tracing::warn!(%repository, %id, %error, "a finished upload could not be cleaned up");
            }
            Ok(held)
        })
        .await
    }

    /// Ends a session and forgets its bytes.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], or the store's.
    pub async fn cancel_upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<(), Error> {
        self.upload_progress(repository, id).await?;
        self.remove_upload(repository, id).await
    }

    pub(super) async fn remove_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<(), Error> {
        let area = Area::Upload(repository, id).key();
        self.driver
            .delete_tree(&area, Durability::Crash)
            .await
            .map_err(Error::storage("delete an upload"))
    }

    /// Opens the session, continues its hash and stores the body. Returns with the writer still open, so that
    /// nobody appends before the caller is done.
    async fn take_in<B>(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        chunk: Chunk,
        mut body: B,
    ) -> Result<(Box<dyn Writer>, Hash), Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let mut writer = self.open_upload(repository, id, chunk.offset).await?;
        let mut hasher = self.resume_hash(repository, id, writer.size()).await?;
        let saved = hasher.length();
        let received = receive(writer.as_mut(), &mut hasher, &mut body).await?;
        let Received {
            length: received,
            interrupted,
        } = received;
        let trouble = match (interrupted, chunk.length) {
            (Some(source), _) => Some(Error::UploadInterrupted {
                id: id.clone(),
                received,
                source,
            }),
            (None, Some(expected)) if expected != received => Some(Error::UploadLength {
                id: id.clone(),
                expected,
                received,
            }),
            (None, _) => None,
        };
        match trouble {
            None => Ok((writer, Hash { hasher, saved })),
            Some(trouble) => {
                self.keep(repository, id, &hasher, saved, writer.as_mut()).await?;
                Err(trouble)
            }
        }
    }

    /// Saves the hash for whoever continues, and looks whether there is anything to continue: a session may be
    /// cancelled while it is written to, and its bytes are then nowhere.
    async fn keep(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        hasher: &registry_oci::Hasher,
        saved: u64,
        writer: &mut dyn Writer,
    ) -> Result<(), Error> {
        self.save_hash(repository, id, hasher, saved, writer).await?;
        // After the state is saved, not before: either this look finds the session gone, or the cancelling
        // takes the state along.
        let found = self.upload_progress(repository, id).await;
        if let Err(Error::UploadUnknown { .. }) = &found {
            self.remove_upload(repository, id).await?;
        }
        found.map(drop)
    }

    async fn open_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        offset: Offset,
    ) -> Result<Box<dyn Writer>, Error> {
        let key = data(repository, id).key();
        let staged = match offset {
            Offset::At(offset) => Staged::At(offset),
            Offset::End => Staged::AtEnd,
        };
        let_go(|| self.driver.stage(&key, staged))
            .await
            .map_err(|source| upload_error("open an upload", repository, id, source))
    }
}

/// Tries until whoever has an upload open lets go of it, for a while.
async fn let_go<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, storage::Error>
where
    F: Future<Output = Result<T, storage::Error>>,
{
    let deadline = Instant::now() + TAKEOVER;
    loop {
        match attempt().await {
            // Another replica may hold it: there is nobody here who could tell when it lets go.
            Err(storage::Error::Busy { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

/// The hash over what an upload holds.
struct Hash {
    hasher: registry_oci::Hasher,
    /// How much of it was there when the request began.
    saved: u64,
}

fn data(repository: &RepositoryName, id: &UploadId) -> Place {
    Place::UploadData {
        repository: repository.clone(),
        id: id.clone(),
    }
}

fn upload_error(
    doing: &'static str,
    repository: &RepositoryName,
    id: &UploadId,
    source: storage::Error,
) -> Error {
    match source {
        storage::Error::NotFound { .. } => Error::UploadUnknown {
            repository: repository.clone(),
            id: id.clone(),
        },
        storage::Error::OffsetMismatch { expected, actual, .. } => Error::UploadOffset {
            id: id.clone(),
            expected,
            actual,
        },
        source => Error::Storage { doing, source },
    }
}

/// Runs work to its end even when nobody waits for it any more: a connection that breaks drops the future that
/// serves it, and what the client had sent must still reach the store.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopping),
        },
    }
}
