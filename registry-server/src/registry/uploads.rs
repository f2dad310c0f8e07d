//! Upload sessions ("Pushing a blob monolithically" and "Pushing a blob in chunks", OCI distribution 1.1).
//!
//! A session lives in the store and in what its client hands back with each request: any replica and a restarted
//! server continue it. How its bytes lie depends on how the store takes in what is big ([`Intake`]): `append` where
//! they are appended to a file, as distribution has them; `multipart` where they are stored in parts.
//! Start at [`Registry::start_upload`].

mod append;
mod multipart;
mod session_lock;

use bytes::Bytes;
use futures_util::Stream;
use registry_oci::{Digest, RepositoryName, UploadId};

pub use multipart::Resume;
pub(super) use session_lock::SessionLocks;

use super::store_body::{BodyError, StoredBody};
use super::{BlobDescriptor, Error, Registry};
use crate::storage::layout::Place;
use crate::storage::{self, Intake};
use crate::telemetry::request::spawn;
use session_lock::{LockError, SessionGuard};

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The session.
    pub id: UploadId,
    /// How many bytes of it are stored.
    pub size: u64,
    /// What the client hands back with its next request.
    pub resume: Option<Resume>,
}

/// A session as a client names it.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// Its id.
    pub id: &'a UploadId,
    /// What the answer before said it is to hand back.
    pub resume: Option<&'a Resume>,
}

impl<'a> From<&'a UploadId> for Session<'a> {
    fn from(id: &'a UploadId) -> Self {
        Self { id, resume: None }
    }
}

impl<'a> From<&'a Progress> for Session<'a> {
    fn from(progress: &'a Progress) -> Self {
        Self {
            id: &progress.id,
            resume: progress.resume.as_ref(),
        }
    }
}

/// What a client says about the bytes it is sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where they begin.
    pub offset: Offset,
    /// How many there are, if it says so.
    pub length: Option<u64>,
    /// Whether the client counts its chunks, so that another one is to be expected.
    pub counted: bool,
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
        match self.driver.intake() {
            Intake::Append(store) => self.start_appended(store, repository).await,
            Intake::Parts(store) => Self::start_multipart(store).await,
        }
    }

    /// Where a session stands: what a crash at this moment would leave.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], or the store's.
    pub async fn upload_progress<'a>(
        &self,
        repository: &RepositoryName,
        session: impl Into<Session<'a>>,
    ) -> Result<Progress, Error> {
        let session = session.into();
        match self.driver.intake() {
            Intake::Append(_) => self.appended_progress(repository, session.id).await,
            Intake::Parts(store) => self.multipart_progress(store, repository, session).await,
        }
    }

    /// Appends a chunk. Whatever came is kept, even when the client goes away; and the work goes on to its end
    /// when this future is dropped. A request that comes later for the same session ends this one.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadOffset`] and [`Error::UploadBusy`] before anything is stored;
    /// [`Error::UploadInterrupted`], [`Error::UploadOvertaken`] and [`Error::UploadLength`] with what came stored; or the
    /// store's.
    pub async fn append_upload<'a, B>(
        &self,
        repository: &RepositoryName,
        session: impl Into<Session<'a>>,
        chunk: Chunk,
        body: B,
    ) -> Result<Progress, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static,
    {
        let session = session.into();
        let (registry, repository) = (self.clone(), repository.clone());
        let (id, resume) = (session.id.clone(), session.resume.cloned());
        let guard = self.lock_session(&repository, session).await?;
        let body = guard.interruptible(body);
        detached(async move {
            let _guard = guard;
            match registry.driver.intake() {
                Intake::Append(store) => {
                    registry
                        .append_appended(store, &repository, &id, chunk, body)
                        .await
                }
                Intake::Parts(store) => {
                    let session = Session {
                        id: &id,
                        resume: resume.as_ref(),
                    };
                    registry
                        .append_multipart(store, &repository, session, chunk, body)
                        .await
                }
            }
        })
        .await
    }

    /// Appends what is left and turns the upload into a blob of the repository, if its bytes have the digest;
    /// otherwise the upload is cancelled. The work goes on to its end when this future is dropped.
    ///
    /// # Errors
    /// Those of [`Registry::append_upload`], and [`Error::DigestMismatch`].
    pub async fn finish_upload<'a, B>(
        &self,
        repository: &RepositoryName,
        session: impl Into<Session<'a>>,
        chunk: Chunk,
        digest: &Digest,
        body: B,
    ) -> Result<BlobDescriptor, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static,
    {
        let session = session.into();
        let (registry, repository, digest) = (self.clone(), repository.clone(), *digest);
        let (id, resume) = (session.id.clone(), session.resume.cloned());
        let guard = self.lock_session(&repository, session).await?;
        let body = guard.interruptible(body);
        detached(async move {
            let _guard = guard;
            match registry.driver.intake() {
                Intake::Append(store) => {
                    registry
                        .finish_appended(store, &repository, &id, chunk, digest, body)
                        .await
                }
                Intake::Parts(store) => {
                    let session = Session {
                        id: &id,
                        resume: resume.as_ref(),
                    };
                    registry
                        .finish_multipart(store, &repository, session, chunk, digest, body)
                        .await
                }
            }
        })
        .await
    }

    /// Ends a session and forgets its bytes, and ends the request that goes on with it.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], or the store's.
    pub async fn cancel_upload<'a>(
        &self,
        repository: &RepositoryName,
        session: impl Into<Session<'a>>,
    ) -> Result<(), Error> {
        let session = session.into();
        // A request that does not let go finds its session gone when it ends.
        let _guard = self.session_locks.acquire(repository, session.id).await;
        match self.driver.intake() {
            Intake::Append(_) => {
                self.appended_progress(repository, session.id).await?;
                self.remove_upload(repository, session.id).await
            }
            Intake::Parts(store) => self.cancel_multipart(store, repository, session).await,
        }
    }

    /// Takes a session over from the request that has it.
    async fn lock_session(
        &self,
        repository: &RepositoryName,
        session: Session<'_>,
    ) -> Result<SessionGuard, Error> {
        let id = session.id;
        match self.session_locks.acquire(repository, id).await {
            Ok(guard) => Ok(guard),
            Err(LockError::Busy) => Err(Error::UploadBusy { id: id.clone() }),
            Err(LockError::Overtaken) => Err(Error::UploadOvertaken {
                id: id.clone(),
                actual: self.upload_progress(repository, session).await?.size,
            }),
        }
    }
}

/// The place of a session's bytes.
fn data(repository: &RepositoryName, id: &UploadId) -> Place {
    Place::UploadData {
        repository: repository.clone(),
        id: id.clone(),
    }
}

/// What is wrong with a body that was taken in by an upload that now has `size` bytes, if anything.
fn failure(id: &UploadId, size: u64, received: StoredBody, announced: Option<u64>) -> Option<Error> {
    let StoredBody { length, interrupted } = received;
    match (interrupted, announced) {
        (Some(source), _) if source.is::<session_lock::LockError>() => Some(Error::UploadOvertaken {
            id: id.clone(),
            actual: size,
        }),
        (Some(source), _) => Some(Error::UploadInterrupted {
            id: id.clone(),
            received: length,
            source,
        }),
        (None, Some(expected)) if expected != length => Some(Error::UploadLength {
            id: id.clone(),
            expected,
            received: length,
        }),
        (None, _) => None,
    }
}

fn upload_error(
    doing: &'static str,
    repository: &RepositoryName,
    id: &UploadId,
    source: storage::Error,
) -> Error {
    match source {
        storage::Error::NotFound { .. } => unknown(repository, id),
        storage::Error::OffsetMismatch { expected, actual, .. } => Error::UploadOffset {
            id: id.clone(),
            expected,
            actual,
        },
        storage::Error::Busy { .. } => Error::UploadBusy { id: id.clone() },
        source => Error::Storage { doing, source },
    }
}

fn unknown(repository: &RepositoryName, id: &UploadId) -> Error {
    Error::UploadUnknown {
        repository: repository.clone(),
        id: id.clone(),
    }
}

/// Runs work to its end even when nobody waits for it any more: a connection that breaks drops the future that
/// serves it, and what the client had sent must still reach the store.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopping),
        },
    }
}
