//! How the bytes of upload sessions are stored. There is one implementation for each way in which stores take large
//! objects.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use registry_oci::{Digest, RepositoryName, UploadId};

use super::session::{Chunk, Progress, Session};
use crate::registry::store_body::BodyError;
use crate::registry::{BlobDescriptor, Error};

/// The body of a request.
pub(super) type Body = BoxStream<'static, Result<Bytes, BodyError>>;

/// Stores the bytes of upload sessions. The caller makes sure that only one request of this process writes to a session
/// at a time.
#[async_trait]
pub(in crate::registry) trait UploadBackend: Send + Sync {
    /// Begins a session.
    async fn start(&self, repository: &RepositoryName) -> Result<Progress, Error>;

    /// How far a session is.
    async fn progress(&self, repository: &RepositoryName, session: Session<'_>) -> Result<Progress, Error>;

    /// Appends a chunk, and keeps what came of it even when it breaks off.
    async fn append(
        &self,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        body: Body,
    ) -> Result<Progress, Error>;

    /// Appends the last chunk and makes the session a blob of the repository.
    async fn finish(
        &self,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        digest: &Digest,
        body: Body,
    ) -> Result<BlobDescriptor, Error>;

    /// Ends a session and removes its bytes.
    async fn cancel(&self, repository: &RepositoryName, session: Session<'_>) -> Result<(), Error>;

    /// Removes an abandoned session, for the purge of uploads. Returns whether it was removed: a session that was
    /// written to within `age` stays.
    async fn remove_abandoned(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        age: Duration,
    ) -> Result<bool, Error>;
}
