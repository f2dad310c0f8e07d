//! Sessions whose bytes are stored in parts, in object stores.
//!
//! What is stored of a session while it grows:
//! - nothing, after it began: what there is to know stands in the [`Resume`] its client hands back;
//! - its bytes under their own digest, where the blob will be, after a first chunk that is smaller than a part and
//!   seems to be all: finishing then writes the link alone. Most blobs go this way, and their bytes are stored once;
//! - parts of an upload of `UploadData`, and a record of where it stands with the bytes that are too few for a part
//!   (`UploadSession`), otherwise. The record is replaced whole and on the condition that nobody else did, so that of
//!   two requests that go on from one state one is told so.
//!
//! A blob whose digest is known before its bytes, since all of them come with the finishing request, is stored in parts
//! of the blob itself and nowhere else. Everything else is put together as `UploadData` and copied within the store.
//! Integrity does not rest on the record: parts are put together by their receipts, and the hash counts in the end.
//! Memory: a part that fills, one that is on its way, and two blocks of the body.
//! Start at [`Resume`].

mod record;
mod writer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, Hasher, RepositoryName, UploadId};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{Chunk, Offset, Progress, Session, data, trouble, unknown, upload_error};
use crate::registry::receive::{BodyError, Received, receive};
use crate::registry::{Error, Held, Registry, hashing};
use crate::storage::layout::Place;
use crate::storage::{self, Expected, Parts, ReadRange, StorageKey, Version};
use record::{Record, Upload};
use writer::PartWriter;

/// What the client of a session hands back with its next request. It is signed on its way, and says nothing its client
/// does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resume {
    /// Nothing was sent yet.
    Fresh,
    /// All that was sent lies under its digest.
    Whole {
        /// The state of the hash over it.
        #[serde(with = "record::state")]
        hash: Hasher,
        /// When it was stored, in seconds since 1970.
        stored: u64,
    },
    /// The store knows.
    Recorded,
}

/// What was written less than this long ago is nobody's to collect. Far below the age at which anything is.
const YOUNG: Duration = Duration::from_secs(15 * 60);

/// Where a session stands that is gone on with.
struct State {
    hasher: Hasher,
    upload: Option<Upload>,
    tail: Tail,
    /// Of the record, if there is one.
    version: Option<Version>,
}

/// The bytes behind the last part.
enum Tail {
    Bytes(Bytes),
    /// All bytes there are, as the blob they are.
    Blob(Digest),
}

impl State {
    fn empty() -> Self {
        Self {
            hasher: Hasher::new(),
            upload: None,
            tail: Tail::Bytes(Bytes::new()),
            version: None,
        }
    }

    fn size(&self) -> u64 {
        self.hasher.length()
    }
}

impl Registry {
    pub(super) fn start_parted() -> Progress {
        Progress {
            id: UploadId::unique(),
            size: 0,
            resume: Some(Resume::Fresh),
        }
    }

    pub(super) async fn parted_progress(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        session: Session<'_>,
    ) -> Result<Progress, Error> {
        let id = session.id;
        let (size, resume) = match (read_record(store, repository, id).await?, session.resume) {
            // What the store has is newer than what any client has.
            (Some((record, _)), _) if record.ended => return Err(unknown(repository, id)),
            (Some((record, _)), _) => (record.hash.length(), Resume::Recorded),
            (None, Some(Resume::Fresh)) => (0, Resume::Fresh),
            (None, Some(whole @ Resume::Whole { hash, .. })) => (hash.length(), whole.clone()),
            (None, Some(Resume::Recorded) | None) => return Err(unknown(repository, id)),
        };
        Ok(Progress {
            id: id.clone(),
            size,
            resume: Some(resume),
        })
    }

    pub(super) async fn append_parted<B>(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        mut body: B,
    ) -> Result<Progress, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let id = session.id;
        let state = open(store, repository, session, chunk.offset).await?;
        let begins = state.size() == 0 && state.version.is_none();
        let mut taking = self.taking(data(repository, id).key(), state).await?;
        let received = receive(&mut taking.writer, &mut taking.hasher, &mut body).await?;
        let trouble = trouble(id, received, chunk.length);
        let size = taking.hasher.length();
        let resume = match &trouble {
            // It seems to be all there is.
            None if begins && !chunk.counted && size > 0 && taking.writer.is_unstored() => {
                self.store_whole(store, taking).await?
            }
            _ => self.record(store, repository, id, taking).await?,
        };
        match trouble {
            Some(trouble) => Err(trouble),
            None => Ok(Progress {
                id: id.clone(),
                size,
                resume: Some(resume),
            }),
        }
    }

    pub(super) async fn finish_parted<B>(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        digest: Digest,
        mut body: B,
    ) -> Result<Held, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let id = session.id;
        let state = open(store, repository, session, chunk.offset).await?;
        let first = next_block(&mut body).await;
        if let (None, Tail::Blob(stored_as), Some(Resume::Whole { stored, .. })) =
            (&first, &state.tail, session.resume)
        {
            if let Some(trouble) = trouble(id, Received::NOTHING, chunk.length) {
                return Err(trouble);
            }
            return self
                .finish_whole(repository, id, digest, *stored_as, state.size(), *stored)
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
        state: State,
        mut body: B,
    ) -> Result<Held, Error>
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
        let mut taking = self.taking(key.clone(), state).await?;
        let received = receive(&mut taking.writer, &mut taking.hasher, &mut body).await;
        let trouble = match received {
            Ok(received) => trouble(id, received, announced),
            Err(error) => Some(error),
        };
        let (size, actual) = (taking.hasher.length(), taking.hasher.digest());
        let trouble =
            trouble.or_else(|| (actual != digest).then(|| mismatch(repository, id, digest, actual)));
        if let Some(trouble) = trouble {
            // Parts of a blob are of no use to a session that may become another one.
            taking.abort(store, &key).await;
            return Err(trouble);
        }
        let failed = Error::storage("store a blob");
        match taking.finish().await.map_err(&failed)? {
            Taken::Blocks(blocks) => {
                store
                    .put_blocks(&key, blocks, Expected::Anything)
                    .await
                    .map_err(failed)?;
            }
            Taken::Upload(upload) => match store.complete(&key, &upload.name, &upload.receipts).await {
                Ok(()) => {}
                Err(storage::Error::NotFound { .. }) => {
                    self.check_together(repository, id, &key, size, digest).await?;
                }
                Err(source) => return Err(failed(source)),
            },
        }
        let held = held(digest, digest, size);
        self.grant_blob(repository, &held).await?;
        Ok(held)
    }

    /// Goes on with a session and makes it a blob.
    async fn finish_session<B>(
        &self,
        finishing: &Finishing<'_>,
        state: State,
        mut body: B,
    ) -> Result<Held, Error>
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
        let mut taking = self.taking(staged.clone(), state).await?;
        let received = receive(&mut taking.writer, &mut taking.hasher, &mut body).await?;
        if let Some(trouble) = trouble(id, received, announced) {
            self.record(store, repository, id, taking).await?;
            return Err(trouble);
        }
        let (size, stored_as) = (taking.hasher.length(), taking.hasher.digest());
        if digest.algorithm() == Algorithm::Sha256 && digest != stored_as {
            taking.abort(store, &staged).await;
            self.remove_upload(repository, id).await?;
            return Err(mismatch(repository, id, digest, stored_as));
        }
        let target = Place::BlobData { digest: stored_as }.key();
        let failed = |source| upload_error("store a blob", repository, id, source);
        match taking.finish().await {
            Ok(Taken::Blocks(blocks)) => {
                self.check_sha512(finishing, stream::iter(blocks.iter().cloned().map(Ok)))
                    .await?;
                store
                    .put_blocks(&target, blocks, Expected::Anything)
                    .await
                    .map_err(failed)?;
            }
            Ok(Taken::Upload(upload)) => {
                match store.complete(&staged, &upload.name, &upload.receipts).await {
                    Ok(()) => {}
                    Err(storage::Error::NotFound { .. }) => {
                        self.check_together(repository, id, &staged, size, stored_as)
                            .await?;
                    }
                    Err(source) => return Err(failed(source)),
                }
                self.publish_staged(finishing, &staged, &target, size).await?;
            }
            // A request before this one put the parts together and got no further.
            Err(storage::Error::NotFound { .. }) => {
                self.check_together(repository, id, &staged, size, stored_as)
                    .await?;
                self.publish_staged(finishing, &staged, &target, size).await?;
            }
            Err(source) => return Err(failed(source)),
        }
        let held = held(digest, stored_as, size);
        self.grant_blob(repository, &held).await?;
        if let Err(error) = store.delete_all(&[session_key(repository, id), staged]).await {
            // The blob is there; what is left of the session is a matter for the next purge.
            tracing::warn!(%repository, %id, %error, "a finished upload could not be cleaned up");
        }
        Ok(held)
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

    pub(super) async fn cancel_parted(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        session: Session<'_>,
    ) -> Result<(), Error> {
        let id = session.id;
        self.parted_progress(store, repository, session).await?;
        match read_record(store, repository, id).await? {
            Some((record, _)) => self.remove_parted(store, repository, id, &record).await,
            // Its client can still name it: what ends it must be written down.
            None => {
                let record = Record {
                    ended: true,
                    ..Record::default()
                };
                write_record(store, repository, id, &record, Vec::new(), Expected::Anything)
                    .await
                    .map(drop)
                    .map_err(Error::storage("cancel an upload"))
            }
        }
    }

    /// Forgets a recorded session.
    async fn remove_parted(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        id: &UploadId,
        record: &Record,
    ) -> Result<(), Error> {
        if let Some(upload) = &record.upload {
            store
                .abort(&data(repository, id).key(), &upload.name)
                .await
                .map_err(Error::storage("delete an upload"))?;
        }
        self.remove_upload(repository, id).await
    }

    /// Forgets what a session has in the store, whatever it is: for the purge.
    pub(in crate::registry) async fn purge_parted(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<(), Error> {
        match read_record(store, repository, id).await? {
            Some((record, _)) => self.remove_parted(store, repository, id, &record).await,
            None => self.remove_upload(repository, id).await,
        }
    }

    /// Opens a writer where a state ends.
    async fn taking(&self, key: StorageKey, state: State) -> Result<Taking, Error> {
        let State {
            hasher,
            upload,
            tail,
            version,
        } = state;
        let tail = match tail {
            Tail::Bytes(bytes) => bytes,
            Tail::Blob(digest) => {
                let key = Place::BlobData { digest }.key();
                let bytes = self.driver.get(&key, hasher.length()).await;
                bytes.map_err(Error::storage("go on with an upload"))?
            }
        };
        Ok(Taking {
            writer: PartWriter::new(
                std::sync::Arc::clone(&self.driver),
                key,
                hasher.length(),
                upload,
                tail,
            ),
            hasher,
            version,
        })
    }

    /// Stores all there is under its digest.
    async fn store_whole(&self, store: &dyn Parts, taking: Taking) -> Result<Resume, Error> {
        let Taking { hasher, writer, .. } = taking;
        let key = Place::BlobData {
            digest: hasher.digest(),
        }
        .key();
        store
            .put_blocks(&key, writer.into_blocks(), Expected::Anything)
            .await
            .map_err(Error::storage("store a part of an upload"))?;
        Ok(Resume::Whole {
            hash: hasher,
            stored: now(),
        })
    }

    /// Writes down where a session stands.
    async fn record(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        id: &UploadId,
        taking: Taking,
    ) -> Result<Resume, Error> {
        let failed = Error::storage("store a part of an upload");
        let Taking {
            hasher,
            writer,
            version,
        } = taking;
        if hasher.length() == 0 {
            return Ok(Resume::Fresh);
        }
        let (upload, tail) = writer.settle().await.map_err(&failed)?;
        let record = Record {
            hash: hasher,
            upload,
            ended: false,
        };
        let expected = version.as_ref().map_or(Expected::Nothing, Expected::Version);
        let written = write_record(store, repository, id, &record, tail, expected).await;
        let Err(source) = written else {
            return Ok(Resume::Recorded);
        };
        // Whether it was refused, or its answer was lost, or the connection was closed on the unread bytes of what was
        // refused: what is written down now tells.
        match (source, read_record(store, repository, id).await?) {
            (_, Some((found, _))) if found == record => Ok(Resume::Recorded),
            (source, Some((found, (_, now)))) if Some(&now) != version.as_ref() && !found.ended => {
                tracing::debug!(%repository, %id, error = %source, "another request went on from the same state");
                Err(Error::UploadOffset {
                    id: id.clone(),
                    expected: record.hash.length(),
                    actual: found.hash.length(),
                })
            }
            (storage::Error::AlreadyExists { .. }, _) => Err(unknown(repository, id)),
            (source, _) => Err(failed(source)),
        }
    }

    /// Turns bytes that lie under their digest already into a blob of the repository.
    async fn finish_whole(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        digest: Digest,
        stored_as: Digest,
        size: u64,
        stored: u64,
    ) -> Result<Held, Error> {
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => stored_as,
            Algorithm::Sha512 => {
                let key = Place::BlobData { digest: stored_as }.key();
                let failed = Error::storage("read an upload");
                let content = self.driver.read(&key, ReadRange::Full).await.map_err(&failed)?;
                sha512(content.map_err(Error::storage("read an upload"))).await?
            }
        };
        if actual != digest {
            return Err(mismatch(repository, id, digest, actual));
        }
        let age = now().saturating_sub(stored);
        if age > YOUNG.as_secs() && self.stored(&digest, stored_as).await?.is_none() {
            // So long ago that it was collected.
            return Err(unknown(repository, id));
        }
        let held = held(digest, stored_as, size);
        self.grant_blob(repository, &held).await?;
        Ok(held)
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

/// What is to be made of a session.
struct Finishing<'a> {
    store: &'a dyn Parts,
    repository: &'a RepositoryName,
    id: &'a UploadId,
    digest: Digest,
    /// How many bytes the request said it has.
    announced: Option<u64>,
}

/// A session with a writer where it ends.
struct Taking {
    writer: PartWriter,
    hasher: Hasher,
    version: Option<Version>,
}

/// What a session's bytes came to.
enum Taken {
    /// Too few for a part.
    Blocks(Vec<Bytes>),
    /// All of them stored in parts.
    Upload(Upload),
}

impl Taking {
    /// Stores what is left.
    async fn finish(self) -> Result<Taken, storage::Error> {
        if self.writer.is_unstored() {
            return Ok(Taken::Blocks(self.writer.into_blocks()));
        }
        Ok(match self.writer.finish().await? {
            Some(upload) => Taken::Upload(upload),
            None => Taken::Blocks(Vec::new()),
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

/// Where a session stands, if that is where the client goes on.
async fn open(
    store: &dyn Parts,
    repository: &RepositoryName,
    session: Session<'_>,
    offset: Offset,
) -> Result<State, Error> {
    let id = session.id;
    let known = match session.resume {
        Some(Resume::Fresh) => Some(State::empty()),
        Some(Resume::Whole { hash, .. }) => Some(State {
            tail: Tail::Blob(hash.digest()),
            hasher: hash.clone(),
            ..State::empty()
        }),
        Some(Resume::Recorded) | None => None,
    };
    let fits = |state: &State| match offset {
        Offset::At(offset) => offset == state.size(),
        Offset::End => true,
    };
    let state = match known {
        Some(state) if fits(&state) => return Ok(state),
        // The client knows of more than it was told: the answer before broke off.
        known => match read_record(store, repository, id).await? {
            Some((record, _)) if record.ended => return Err(unknown(repository, id)),
            Some((record, (tail, version))) => State {
                hasher: record.hash,
                upload: record.upload,
                tail: Tail::Bytes(tail),
                version: Some(version),
            },
            None => known.ok_or_else(|| unknown(repository, id))?,
        },
    };
    match offset {
        Offset::At(expected) if expected != state.size() => Err(Error::UploadOffset {
            id: id.clone(),
            expected,
            actual: state.size(),
        }),
        Offset::At(_) | Offset::End => Ok(state),
    }
}

fn session_key(repository: &RepositoryName, id: &UploadId) -> StorageKey {
    Place::UploadSession {
        repository: repository.clone(),
        id: id.clone(),
    }
    .key()
}

/// The record of a session, with the bytes behind its last part and its version.
async fn read_record(
    store: &dyn Parts,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<Option<(Record, (Bytes, Version))>, Error> {
    let key = session_key(repository, id);
    match store.get_version(&key, record::MAX).await {
        Ok((bytes, version)) => match Record::read(&bytes) {
            Some((record, tail)) => Ok(Some((record, (tail, version)))),
            None => {
                tracing::warn!(%key, "what is recorded of an upload cannot be read; the upload counts as unknown");
                Ok(None)
            }
        },
        Err(error) if error.is_not_found() => Ok(None),
        Err(source) => Err(Error::storage("look for an upload")(source)),
    }
}

async fn write_record(
    store: &dyn Parts,
    repository: &RepositoryName,
    id: &UploadId,
    record: &Record,
    tail: Vec<Bytes>,
    expected: Expected<'_>,
) -> Result<Version, storage::Error> {
    let blocks = std::iter::once(record.head()).chain(tail).collect();
    store
        .put_blocks(&session_key(repository, id), blocks, expected)
        .await
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

fn held(digest: Digest, stored_as: Digest, size: u64) -> Held {
    Held {
        digest,
        stored_as,
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

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(all(test, feature = "stores"))]
mod tests;
