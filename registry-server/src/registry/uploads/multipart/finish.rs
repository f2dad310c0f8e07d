//! Makes an upload session in an object store a blob.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, Hasher, RepositoryName, UploadId};
use sha2::Digest as _;

use super::open_session::{FinishedBytes, SessionState, save_record};
use super::record::{MultipartUpload, session_key};
use crate::registry::store_body::{BodyError, StoredBody};
use crate::registry::uploads::backend::Body;
use crate::registry::uploads::errors::{body_error, digest_mismatch, store_error, unknown};
use crate::registry::uploads::resume::{Resume, now};
use crate::registry::uploads::session::{Offset, Session};
use crate::registry::{BlobDescriptor, Error, Registry, hashing, offload};
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Expected, Multipart, OptionalExtension as _, ReadRange, StorageKey};

/// A blob that was stored less than this long ago is not garbage yet. Far below the age at which anything is collected.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// A finishing request.
pub(super) struct Finish<'a> {
    pub(super) registry: &'a Registry,
    pub(super) store: &'a dyn Multipart,
    pub(super) repository: &'a RepositoryName,
    pub(super) id: &'a UploadId,
    /// The digest that the client claims.
    pub(super) digest: Digest,
    /// How many bytes the request said it has.
    pub(super) announced: Option<u64>,
}

impl Finish<'_> {
    /// Stores the body behind the session and links the blob.
    pub(super) async fn run(
        &self,
        session: Session<'_>,
        offset: Offset,
        mut body: Body,
    ) -> Result<BlobDescriptor, Error> {
        let state = SessionState::of_session(self.store, self.repository, session, offset).await?;
        let first = next_block(&mut body).await;
        if let (None, Some(canonical), Some(Resume::Whole { stored, .. })) =
            (&first, state.stored_whole(), session.resume)
        {
            let empty = StoredBody::NOTHING;
            if let Some(error) = body_error(self.id, state.size(), empty, self.announced) {
                return Err(error);
            }
            return self.link_stored(canonical, state.size(), *stored).await;
        }
        let body = stream::iter(first).chain(body);
        if state.is_fresh() && self.digest.algorithm() == Algorithm::Sha256 {
            self.store_blob(state, body).await
        } else {
            self.finish_session(state, body).await
        }
    }

    /// Stores a blob of which nothing is stored yet, and whose digest is known.
    async fn store_blob<B>(&self, state: SessionState, mut body: B) -> Result<BlobDescriptor, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let key = ObjectPath::blob_data(&self.digest).key();
        let mut open = state.open(self.registry, key.clone()).await?;
        let stored = open.store_body(&self.registry.settings.request_memory, &mut body);
        let error = match stored.await {
            // Nothing of the body is kept.
            Ok(stored) => body_error(self.id, 0, stored, self.announced),
            Err(error) => Some(error),
        };
        let (size, actual) = (open.size(), open.digest());
        let error = error.or_else(|| (actual != self.digest).then(|| self.mismatch(actual)));
        if let Some(error) = error {
            // Parts of a blob are of no use to a session that may become another one.
            open.abort(self.store, &key).await;
            return Err(error);
        }
        let failed = Error::storage("store a blob");
        match open.finish().await.map_err(&failed)? {
            FinishedBytes::Blocks(blocks) => {
                self.store
                    .put_blocks(&key, blocks, Expected::Anything)
                    .await
                    .map_err(failed)?;
            }
            FinishedBytes::Upload(upload) => self.complete(&key, &upload, size, self.digest).await?,
        }
        self.link(self.digest, size).await
    }

    /// Continues a session and makes it a blob.
    async fn finish_session<B>(&self, state: SessionState, mut body: B) -> Result<BlobDescriptor, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let (repository, id) = (self.repository, self.id);
        let staged = ObjectPath::upload_data(repository, id).key();
        let mut open = state.open(self.registry, staged.clone()).await?;
        let stored = open
            .store_body(&self.registry.settings.request_memory, &mut body)
            .await?;
        if let Some(error) = body_error(id, open.size(), stored, self.announced) {
            save_record(self.store, repository, id, open).await?;
            return Err(error);
        }
        let (size, canonical) = (open.size(), open.digest());
        if self.digest.algorithm() == Algorithm::Sha256 && self.digest != canonical {
            open.abort(self.store, &staged).await;
            self.registry.remove_upload(repository, id).await?;
            return Err(self.mismatch(canonical));
        }
        let target = ObjectPath::blob_data(&canonical).key();
        let failed = |source| store_error("store a blob", repository, id, source);
        match open.finish().await {
            Ok(FinishedBytes::Blocks(blocks)) => {
                self.check_sha512(stream::iter(blocks.iter().cloned().map(Ok)))
                    .await?;
                self.store
                    .put_blocks(&target, blocks, Expected::Anything)
                    .await
                    .map_err(failed)?;
            }
            Ok(FinishedBytes::Upload(upload)) => {
                self.complete(&staged, &upload, size, canonical).await?;
                self.publish(&staged, &target, size).await?;
            }
            // An earlier request put the parts together and got no further.
            Err(storage::Error::NotFound { .. }) => {
                self.check_completed(&staged, size, canonical).await?;
                self.publish(&staged, &target, size).await?;
            }
            Err(source) => return Err(failed(source)),
        }
        let blob = self.link(canonical, size).await?;
        let left = [session_key(repository, id), staged];
        if let Err(error) = self.store.delete_all(&left).await {
            // The blob is stored. The next purge removes what is left of the session.
            tracing::warn!(%repository, %id, %error, "a finished upload could not be cleaned up");
        }
        Ok(blob)
    }

    /// Links bytes that are stored under their digest already.
    async fn link_stored(&self, canonical: Digest, size: u64, stored: u64) -> Result<BlobDescriptor, Error> {
        let actual = match self.digest.algorithm() {
            Algorithm::Sha256 => canonical,
            Algorithm::Sha512 => self.sha512_of(&ObjectPath::blob_data(&canonical).key()).await?,
        };
        if actual != self.digest {
            return Err(self.mismatch(actual));
        }
        let age = now().saturating_sub(stored);
        if age > RECENT.as_secs()
            && self
                .registry
                .stored_blob(&self.digest, canonical)
                .await?
                .is_none()
        {
            // It was stored so long ago that it was collected.
            return Err(unknown(self.repository, self.id));
        }
        self.link(canonical, size).await
    }

    async fn link(&self, canonical: Digest, size: u64) -> Result<BlobDescriptor, Error> {
        let blob = BlobDescriptor {
            digest: self.digest,
            canonical,
            size,
            modified: SystemTime::now(),
        };
        self.registry.link_blob(self.repository, &blob).await?;
        Ok(blob)
    }

    /// Copies the completed upload to the place of the blob.
    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error> {
        if self.digest.algorithm() == Algorithm::Sha512 {
            let failed = Error::storage("read an upload");
            let content = self.registry.driver.read(staged, ReadRange::Full).await;
            let content = content.map_err(&failed)?.map_err(failed);
            self.check_sha512(content).await?;
        }
        self.store
            .copy(staged, target, size)
            .await
            .map_err(|source| store_error("store a blob", self.repository, self.id, source))
    }

    /// Cancels a session that was sent as a SHA-512 that its bytes do not have.
    async fn check_sha512(
        &self,
        blocks: impl Stream<Item = Result<Bytes, Error>> + Send + Unpin,
    ) -> Result<(), Error> {
        if self.digest.algorithm() != Algorithm::Sha512 {
            return Ok(());
        }
        let actual = sha512(blocks).await?;
        if actual == self.digest {
            return Ok(());
        }
        self.registry.remove_upload(self.repository, self.id).await?;
        Err(self.mismatch(actual))
    }

    async fn sha512_of(&self, key: &StorageKey) -> Result<Digest, Error> {
        let failed = Error::storage("read an upload");
        let content = self.registry.driver.read(key, ReadRange::Full).await;
        let content = content.map_err(&failed)?.map_err(failed);
        sha512(content).await
    }

    /// Puts the parts of an upload together, unless an earlier request did.
    async fn complete(
        &self,
        key: &StorageKey,
        upload: &MultipartUpload,
        size: u64,
        expected: Digest,
    ) -> Result<(), Error> {
        match self.store.complete(key, &upload.name, &upload.receipts).await {
            Ok(()) => Ok(()),
            Err(storage::Error::NotFound { .. }) => self.check_completed(key, size, expected).await,
            Err(source) => Err(Error::storage("store a blob")(source)),
        }
    }

    /// Checks the bytes that an earlier request put together, which got no further or whose answer was lost. This is
    /// rare enough to read all of them.
    async fn check_completed(&self, key: &StorageKey, size: u64, expected: Digest) -> Result<(), Error> {
        let failed = Error::storage("read an upload");
        let unknown = || unknown(self.repository, self.id);
        let content = self.registry.driver.read(key, ReadRange::Full).await.optional();
        let content = content.map_err(&failed)?;
        let mut content = content
            .filter(|content| content.size == size)
            .ok_or_else(unknown)?;
        let mut hasher = Hasher::new();
        while let Some(block) = content.next().await {
            hasher = hashing::update(hasher, block.map_err(&failed)?).await?;
        }
        match hasher.digest() == expected {
            true => Ok(()),
            false => Err(unknown()),
        }
    }

    fn mismatch(&self, actual: Digest) -> Error {
        digest_mismatch(self.repository, self.id, &self.digest, actual)
    }
}

/// The next block of a body that is not empty.
async fn next_block(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    loop {
        match body.next().await {
            Some(Ok(block)) if block.is_empty() => {}
            next => return next,
        }
    }
}

async fn sha512(
    mut blocks: impl Stream<Item = Result<Bytes, Error>> + Send + Unpin,
) -> Result<Digest, Error> {
    let mut hash = sha2::Sha512::new();
    while let Some(block) = blocks.next().await {
        let block = block?;
        hash = offload::blocking(move || hash.chain_update(&block)).await?;
    }
    Ok(Digest::from_sha512(&hash.finalize().into()))
}
