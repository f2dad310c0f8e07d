//! Making a blob of a session.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, Hasher, RepositoryName, UploadId};
use sha2::Digest as _;

use super::record::{Upload, session_key};
use super::{OpenSession, Resume, SessionState, Tail, YOUNG, now, open};
use crate::registry::store_body::{BodyError, StoredBody};
use crate::registry::uploads::{Chunk, Session, data, failure, unknown, upload_error};
use crate::registry::{BlobDescriptor, Error, Registry, hashing};
use crate::storage::layout::Place;
use crate::storage::{self, Expected, Parts, ReadRange, StorageKey};

/// What is to be made of a session.
struct Finishing<'a> {
    store: &'a dyn Parts,
    repository: &'a RepositoryName,
    id: &'a UploadId,
    digest: Digest,
    /// How many bytes the request said it has.
    announced: Option<u64>,
}

/// What a session's bytes came to.
enum FinishedBytes {
    /// Too few for a part.
    Blocks(Vec<Bytes>),
    /// All of them stored in parts.
    Upload(Upload),
}

impl Registry {
    pub(in crate::registry::uploads) async fn finish_multipart<B>(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        digest: Digest,
        mut body: B,
    ) -> Result<BlobDescriptor, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let id = session.id;
        let state = open(store, repository, session, chunk.offset).await?;
        let first = next_block(&mut body).await;
        if let (None, Tail::Blob(canonical), Some(Resume::Whole { stored, .. })) =
            (&first, &state.tail, session.resume)
        {
            if let Some(failure) = failure(id, state.size(), StoredBody::NOTHING, chunk.length) {
                return Err(failure);
            }
            return self
                .finish_whole(repository, id, digest, *canonical, state.size(), *stored)
                .await;
        }
        let body = stream::iter(first).chain(body);
        let finishing = Finishing {
            store,
            repository,
            id,
            digest,
            announced: chunk.length,
        };
        let straight =
            state.size() == 0 && state.version.is_none() && digest.algorithm() == Algorithm::Sha256;
        if straight {
            self.finish_straight(&finishing, state, body).await
        } else {
            self.finish_session(&finishing, state, body).await
        }
    }

    /// Stores a blob of which nothing is stored yet and whose digest is known.
    async fn finish_straight<B>(
        &self,
        finishing: &Finishing<'_>,
        state: SessionState,
        mut body: B,
    ) -> Result<BlobDescriptor, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let Finishing {
            store,
            repository,
            id,
            digest,
            announced,
        } = *finishing;
        let key = Place::BlobData { digest }.key();
        let mut open_session = self.open_session(key.clone(), state).await?;
        let received = open_session
            .store_body(&self.settings.request_memory, &mut body)
            .await;
        let failure = match received {
            // Nothing of it is kept.
            Ok(received) => failure(id, 0, received, announced),
            Err(error) => Some(error),
        };
        let (size, actual) = (open_session.hasher.length(), open_session.hasher.digest());
        let failure =
            failure.or_else(|| (actual != digest).then(|| mismatch(repository, id, digest, actual)));
        if let Some(failure) = failure {
            // Parts of a blob are of no use to a session that may become another one.
            open_session.abort(store, &key).await;
            return Err(failure);
        }
        let failed = Error::storage("store a blob");
        match open_session.finish().await.map_err(&failed)? {
            FinishedBytes::Blocks(blocks) => {
                store
                    .put_blocks(&key, blocks, Expected::Anything)
                    .await
                    .map_err(failed)?;
            }
            FinishedBytes::Upload(upload) => {
                self.put_together(finishing, &key, &upload, size, digest).await?
            }
        }
        let blob = descriptor(digest, digest, size);
        self.link_blob(repository, &blob).await?;
        Ok(blob)
    }

    /// Goes on with a session and makes it a blob.
    async fn finish_session<B>(
        &self,
        finishing: &Finishing<'_>,
        state: SessionState,
        mut body: B,
    ) -> Result<BlobDescriptor, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let Finishing {
            store,
            repository,
            id,
            digest,
            announced,
        } = *finishing;
        let staged = data(repository, id).key();
        let mut open_session = self.open_session(staged.clone(), state).await?;
        let received = open_session
            .store_body(&self.settings.request_memory, &mut body)
            .await?;
        if let Some(failure) = failure(id, open_session.hasher.length(), received, announced) {
            self.record(store, repository, id, open_session).await?;
            return Err(failure);
        }
        let (size, canonical) = (open_session.hasher.length(), open_session.hasher.digest());
        if digest.algorithm() == Algorithm::Sha256 && digest != canonical {
            open_session.abort(store, &staged).await;
            self.remove_upload(repository, id).await?;
            return Err(mismatch(repository, id, digest, canonical));
        }
        let target = Place::BlobData { digest: canonical }.key();
        let failed = |source| upload_error("store a blob", repository, id, source);
        match open_session.finish().await {
            Ok(FinishedBytes::Blocks(blocks)) => {
                self.check_sha512(finishing, stream::iter(blocks.iter().cloned().map(Ok)))
                    .await?;
                store
                    .put_blocks(&target, blocks, Expected::Anything)
                    .await
                    .map_err(failed)?;
            }
            Ok(FinishedBytes::Upload(upload)) => {
                self.put_together(finishing, &staged, &upload, size, canonical)
                    .await?;
                self.publish_staged(finishing, &staged, &target, size).await?;
            }
            // A request before this one put the parts together and got no further.
            Err(storage::Error::NotFound { .. }) => {
                self.check_together(repository, id, &staged, size, canonical)
                    .await?;
                self.publish_staged(finishing, &staged, &target, size).await?;
            }
            Err(source) => return Err(failed(source)),
        }
        let blob = descriptor(digest, canonical, size);
        self.link_blob(repository, &blob).await?;
        if let Err(error) = store.delete_all(&[session_key(repository, id), staged]).await {
            // The blob is there; what is left of the session is a matter for the next purge.
            tracing::warn!(%repository, %id, %error, "a finished upload could not be cleaned up");
        }
        Ok(blob)
    }

    /// Copies what was put together to where blobs lie.
    async fn publish_staged(
        &self,
        finishing: &Finishing<'_>,
        staged: &StorageKey,
        target: &StorageKey,
        size: u64,
    ) -> Result<(), Error> {
        let Finishing {
            store,
            repository,
            id,
            digest,
            ..
        } = *finishing;
        if digest.algorithm() == Algorithm::Sha512 {
            let failed = Error::storage("read an upload");
            let content = self.driver.read(staged, ReadRange::Full).await.map_err(&failed)?;
            self.check_sha512(finishing, content.map_err(Error::storage("read an upload")))
                .await?;
        }
        store
            .copy(staged, target, size)
            .await
            .map_err(|source| upload_error("store a blob", repository, id, source))
    }

    /// Cancels a session that was sent as a SHA-512 its bytes do not have.
    async fn check_sha512(
        &self,
        finishing: &Finishing<'_>,
        blocks: impl Stream<Item = Result<Bytes, Error>> + Unpin,
    ) -> Result<(), Error> {
        let Finishing {
            repository,
            id,
            digest,
            ..
        } = *finishing;
        if digest.algorithm() != Algorithm::Sha512 {
            return Ok(());
        }
        let actual = sha512(blocks).await?;
        if actual == digest {
            return Ok(());
        }
        self.remove_upload(repository, id).await?;
        Err(mismatch(repository, id, digest, actual))
    }

    /// SessionLocks bytes that lie under their digest already into a blob of the repository.
    async fn finish_whole(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        digest: Digest,
        canonical: Digest,
        size: u64,
        stored: u64,
    ) -> Result<BlobDescriptor, Error> {
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => canonical,
            Algorithm::Sha512 => {
                let key = Place::BlobData { digest: canonical }.key();
                let failed = Error::storage("read an upload");
                let content = self.driver.read(&key, ReadRange::Full).await.map_err(&failed)?;
                sha512(content.map_err(Error::storage("read an upload"))).await?
            }
        };
        if actual != digest {
            return Err(mismatch(repository, id, digest, actual));
        }
        let age = now().saturating_sub(stored);
        if age > YOUNG.as_secs() && self.stored_blob(&digest, canonical).await?.is_none() {
            // So long ago that it was collected.
            return Err(unknown(repository, id));
        }
        let blob = descriptor(digest, canonical, size);
        self.link_blob(repository, &blob).await?;
        Ok(blob)
    }

    /// Puts the parts of an upload together, unless that was done before.
    async fn put_together(
        &self,
        finishing: &Finishing<'_>,
        key: &StorageKey,
        upload: &Upload,
        size: u64,
        expected: Digest,
    ) -> Result<(), Error> {
        match finishing
            .store
            .complete(key, &upload.name, &upload.receipts)
            .await
        {
            Ok(()) => Ok(()),
            Err(storage::Error::NotFound { .. }) => {
                let (repository, id) = (finishing.repository, finishing.id);
                self.check_together(repository, id, key, size, expected).await
            }
            Err(source) => Err(Error::storage("store a blob")(source)),
        }
    }

    /// Whether parts were put together already, by a request that got no further or whose answer was lost: rare enough
    /// to read them all.
    async fn check_together(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        key: &StorageKey,
        size: u64,
        expected: Digest,
    ) -> Result<(), Error> {
        let failed = Error::storage("read an upload");
        let mut content = match self.driver.read(key, ReadRange::Full).await {
            Ok(content) if content.size == size => content,
            Ok(_) => return Err(unknown(repository, id)),
            Err(error) if error.is_not_found() => return Err(unknown(repository, id)),
            Err(source) => return Err(failed(source)),
        };
        let mut hasher = Hasher::new();
        while let Some(block) = content.next().await {
            hasher = hashing::update(hasher, block.map_err(&failed)?).await?;
        }
        match hasher.digest() == expected {
            true => Ok(()),
            false => Err(unknown(repository, id)),
        }
    }
}

impl OpenSession {
    /// Stores what is left.
    async fn finish(self) -> Result<FinishedBytes, storage::Error> {
        if self.writer.is_unstored() {
            return Ok(FinishedBytes::Blocks(self.writer.into_blocks()));
        }
        Ok(match self.writer.finish().await? {
            Some(upload) => FinishedBytes::Upload(upload),
            None => FinishedBytes::Blocks(Vec::new()),
        })
    }

    /// Gives up the parts, as far as that can be done now; the purge finds what stays.
    async fn abort(self, store: &dyn Parts, key: &StorageKey) {
        if let Some(upload) = self.writer.into_upload().await
            && let Err(error) = store.abort(key, &upload.name).await
        {
            tracing::debug!(%key, %error, "parts that are of no use any more stay for the purge");
        }
    }
}

/// The next block of a body that is not empty.
async fn next_block<B>(body: &mut B) -> Option<Result<Bytes, BodyError>>
where
    B: Stream<Item = Result<Bytes, BodyError>> + Unpin,
{
    loop {
        match body.next().await {
            Some(Ok(block)) if block.is_empty() => {}
            next => return next,
        }
    }
}

async fn sha512(mut blocks: impl Stream<Item = Result<Bytes, Error>> + Unpin) -> Result<Digest, Error> {
    let mut hash = sha2::Sha512::new();
    while let Some(block) = blocks.next().await {
        let block = block?;
        hash = hashing::off_thread(move || hash.chain_update(&block)).await?;
    }
    Ok(Digest::from_sha512(&hash.finalize().into()))
}

fn descriptor(digest: Digest, canonical: Digest, size: u64) -> BlobDescriptor {
    BlobDescriptor {
        digest,
        canonical,
        size,
        modified: SystemTime::now(),
    }
}

fn mismatch(repository: &RepositoryName, id: &UploadId, claimed: Digest, actual: Digest) -> Error {
    Error::DigestMismatch {
        repository: repository.clone(),
        id: id.clone(),
        claimed,
        actual,
    }
}
