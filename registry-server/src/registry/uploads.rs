//! Upload sessions ("Pushing a blob monolithically" and "Pushing a blob in chunks", OCI distribution 1.1).
//!
//! A session is kept in the store and in the state that its client hands back with each request, so any replica and a
//! restarted server can continue it. How its bytes are stored depends on the store: [`append`] writes them to a file,
//! as distribution does; [`multipart`] stores them in parts.
//!
//! Guarantees: one request at a time writes to a session, the one that came last ([`session_lock`]). The bytes that
//! came are kept when a client goes away, and work that began goes on to its end.
//! Start at [`Registry::start_upload`].

mod append;
mod backend;
mod base64_hash;
mod errors;
mod hash_state;
mod multipart;
pub(super) mod remains;
pub(super) mod resume;
pub(super) mod session;
pub(super) mod session_lock;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use registry_oci::{Digest, RepositoryName};

use self::append::AppendUploads;
use self::backend::UploadBackend;
use self::multipart::MultipartUploads;
use self::session::{Chunk, Progress, Session};
use self::session_lock::{LockError, SessionGuard};
use super::offload::detached;
use super::store_body::BodyError;
use super::{BlobDescriptor, Error, Registry};
use crate::storage::LargeWrite;

impl Registry {
    /// How this store keeps upload sessions.
    pub(super) fn upload_backend(&self) -> Box<dyn UploadBackend + '_> {
        match self.driver.large_write() {
            LargeWrite::Append(store) => Box::new(AppendUploads::new(self, store)),
            LargeWrite::Multipart(store) => Box::new(MultipartUploads::new(self, store)),
        }
    }

    /// Begins a session.
    ///
    /// # Errors
    /// The store's.
    pub async fn start_upload(&self, repository: &RepositoryName) -> Result<Progress, Error> {
        self.upload_backend().start(repository).await
    }

    /// How far a session is: what a crash at this moment would leave.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], or the store's.
    pub async fn upload_progress<'a>(
        &self,
        repository: &RepositoryName,
        session: impl Into<Session<'a>>,
    ) -> Result<Progress, Error> {
        self.upload_backend().progress(repository, session.into()).await
    }

    /// Appends a chunk. The bytes that came are kept, even when the client goes away, and the work goes on to its end
    /// when this future is dropped. A later request for the same session ends this one.
    ///
    /// # Errors [`Error::UploadUnknown`]; [`Error::UploadOffset`] and [`Error::UploadBusy`] before anything is stored;
    /// [`Error::UploadInterrupted`], [`Error::UploadOvertaken`] and [`Error::UploadLength`] after the bytes that came
    /// were stored; or the store's.
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
        let body = guard.interruptible(body).boxed();
        detached(async move {
            let _guard = guard;
            let session = Session {
                id: &id,
                resume: resume.as_ref(),
            };
            let backend = registry.upload_backend();
            backend.append(&repository, session, chunk, body).await
        })
        .await
    }

    /// Appends the last chunk and makes the session a blob of the repository, if its bytes have the digest. Otherwise
    /// the session is cancelled. The work goes on to its end when this future is dropped.
    ///
    /// # Errors Those of [`Registry::append_upload`], and [`Error::DigestMismatch`].
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
        let body = guard.interruptible(body).boxed();
        detached(async move {
            let _guard = guard;
            let session = Session {
                id: &id,
                resume: resume.as_ref(),
            };
            let backend = registry.upload_backend();
            backend.finish(&repository, session, chunk, &digest, body).await
        })
        .await
    }

    /// Ends a session, removes its bytes, and ends the request that writes to it.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], or the store's.
    pub async fn cancel_upload<'a>(
        &self,
        repository: &RepositoryName,
        session: impl Into<Session<'a>>,
    ) -> Result<(), Error> {
        let session = session.into();
        // Without the lock it goes on all the same: a request that keeps it finds its session gone in the end.
        let _guard = self.session_locks.acquire(repository, session.id).await;
        self.upload_backend().cancel(repository, session).await
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
