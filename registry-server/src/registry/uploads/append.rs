//! Sessions whose bytes are appended to a file, in distribution's layout: the file of bytes, when it began, and the
//! state of the hash over it. Bytes are only ever appended, by one writer at a time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
use registry_oci::{Algorithm, Digest, RepositoryName, UploadId};
use tokio::time::Instant;

use super::{Chunk, Offset, Progress, data, failure, session_lock, upload_error};
use crate::registry::store_body::{BodyError, store_body};
use crate::registry::{BlobDescriptor, Error, Registry};
use crate::storage::layout::{Area, Place};
use crate::storage::{self, Append, Durability, Mode, Staged, Writer};

/// How often a lock that another replica has is tried at least.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The hash over what an upload holds.
struct Hash {
    hasher: registry_oci::Hasher,
    /// How much of it was there when the request began.
    saved: u64,
}

impl Registry {
    pub(super) async fn start_appended(
        &self,
        store: &dyn Append,
        repository: &RepositoryName,
    ) -> Result<Progress, Error> {
        let id = UploadId::unique();
        let failed = Error::storage("begin an upload");
        // Both files, as distribution has them, so that either server can continue the session.
        store
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
        Ok(progress(&id, 0))
    }

    pub(super) async fn appended_progress(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<Progress, Error> {
        match self.driver.stat(&data(repository, id).key()).await {
            Ok(found) => Ok(progress(id, found.size)),
            Err(source) => Err(upload_error("look for an upload", repository, id, source)),
        }
    }

    pub(super) async fn append_appended<B>(
        &self,
        store: &dyn Append,
        repository: &RepositoryName,
        id: &UploadId,
        chunk: Chunk,
        body: B,
    ) -> Result<Progress, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let (mut writer, hash) = self.take_in(store, repository, id, chunk, body).await?;
        let Hash { hasher, saved } = hash;
        self.keep(repository, id, &hasher, saved, writer.as_mut()).await?;
        Ok(progress(id, writer.size()))
    }

    pub(super) async fn finish_appended<B>(
        &self,
        store: &dyn Append,
        repository: &RepositoryName,
        id: &UploadId,
        chunk: Chunk,
        digest: Digest,
        body: B,
    ) -> Result<BlobDescriptor, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let (writer, Hash { hasher, saved }) = self.take_in(store, repository, id, chunk, body).await?;
        let size = writer.size();
        let canonical = hasher.digest();
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => canonical,
            Algorithm::Sha512 => self.sha512_of_upload(repository, id).await?,
        };
        if saved == size {
            // Nothing came with the request, and the session may be so old that a purge wants it in the moment
            // in which nobody has it open.
            self.driver
                .refresh(&data(repository, id).key())
                .await
                .map_err(|source| upload_error("go on with an upload", repository, id, source))?;
        }
        drop(writer);
        if actual != digest {
            self.remove_upload(repository, id).await?;
            return Err(Error::DigestMismatch {
                repository: repository.clone(),
                id: id.clone(),
                claimed: digest,
                actual,
            });
        }
        // Publishing checks the size again under the lock, so bytes appended since the hash was taken would
        // be noticed.
        let target = Place::BlobData { digest: canonical }.key();
        let staged = data(repository, id).key();
        let published = let_go(|| store.publish(&staged, &target, size))
            .await
            .map_err(|source| upload_error("store a blob", repository, id, source));
        self.ended_if_lost(repository, id, published).await?;
        let blob = BlobDescriptor {
            digest,
            canonical,
            size,
            modified: std::time::SystemTime::now(),
        };
        self.link_blob(repository, &blob).await?;
        if let Err(error) = self.remove_upload(repository, id).await {
            // The blob is there; what is left of the session is a matter for the next purge.
            tracing::warn!(%repository, %id, %error, "a finished upload could not be cleaned up");
        }
        Ok(blob)
    }

    pub(in crate::registry) async fn remove_upload(
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

    /// Removes what is left of a session whose bytes the disk has lost: nothing that comes later can be trusted to be
    /// there, so its client begins again.
    async fn ended_if_lost(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        if let Err(Error::Storage {
            source: storage::Error::Lost { .. },
            ..
        }) = &result
            && let Err(error) = self.remove_upload(repository, id).await
        {
            tracing::warn!(%repository, %id, %error, "an upload whose bytes were lost could not be cleaned up");
        }
        result
    }

    /// Opens the session, continues its hash and stores the body. Returns with the writer still open, so that
    /// nobody appends before the caller is done.
    async fn take_in<B>(
        &self,
        store: &dyn Append,
        repository: &RepositoryName,
        id: &UploadId,
        chunk: Chunk,
        mut body: B,
    ) -> Result<(Box<dyn Writer>, Hash), Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let mut writer = open(store, repository, id, chunk.offset).await?;
        let mut hasher = self.resume_hash(repository, id, writer.size()).await?;
        let saved = hasher.length();
        let received = store_body(
            &self.settings.request_memory,
            writer.as_mut(),
            &mut hasher,
            &mut body,
        )
        .await?;
        match failure(id, writer.size(), received, chunk.length) {
            None => Ok((writer, Hash { hasher, saved })),
            Some(failure) => {
                self.keep(repository, id, &hasher, saved, writer.as_mut()).await?;
                Err(failure)
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
        let kept = self.save_hash(repository, id, hasher, saved, writer).await;
        self.ended_if_lost(repository, id, kept).await?;
        // After the state is saved, not before: either this look finds the session gone, or the cancelling
        // takes the state along.
        let found = self.appended_progress(repository, id).await;
        if let Err(Error::UploadUnknown { .. }) = &found {
            self.remove_upload(repository, id).await?;
        }
        found.map(drop)
    }
}

fn progress(id: &UploadId, size: u64) -> Progress {
    Progress {
        id: id.clone(),
        size,
        resume: None,
    }
}

async fn open(
    store: &dyn Append,
    repository: &RepositoryName,
    id: &UploadId,
    offset: Offset,
) -> Result<Box<dyn Writer>, Error> {
    let key = data(repository, id).key();
    let staged = match offset {
        Offset::At(offset) => Staged::At(offset),
        Offset::End => Staged::AtEnd,
    };
    let_go(|| store.stage(&key, staged))
        .await
        .map_err(|source| upload_error("open an upload", repository, id, source))
}

/// Tries until another replica that has an upload open lets go of it, for a while; requests of this process wait for
/// their turn before.
async fn let_go<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, storage::Error>
where
    F: Future<Output = Result<T, storage::Error>>,
{
    let deadline = Instant::now() + session_lock::LOCK_TIMEOUT;
    let mut pause = Duration::from_millis(10);
    loop {
        match attempt().await {
            // There is nobody here who could tell when it lets go.
            Err(storage::Error::Busy { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            result => return result,
        }
    }
}
