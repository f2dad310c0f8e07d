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

mod finishing;
mod record;
mod writer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::Stream;
use registry_oci::{Digest, Hasher, RepositoryName, UploadId};
use serde::{Deserialize, Serialize};

use super::{Chunk, Offset, Progress, Session, data, failure, unknown};
use crate::memory::Budget;
use crate::registry::store_body::{BodyError, StoredBody, store_body};
use crate::registry::{Error, Registry};
use crate::storage::layout::Place;
use crate::storage::{self, Expected, Parts, StorageKey, Version};
use record::{Record, Upload, read_record, write_record};
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
struct SessionState {
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

impl SessionState {
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
    pub(super) async fn start_multipart(store: &dyn Parts) -> Result<Progress, Error> {
        store.answers().await.map_err(Error::storage("begin an upload"))?;
        Ok(Progress {
            id: UploadId::unique(),
            size: 0,
            resume: Some(Resume::Fresh),
        })
    }

    pub(super) async fn multipart_progress(
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

    pub(super) async fn append_multipart<B>(
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
        let mut open_session = self.open_session(data(repository, id).key(), state).await?;
        let received = open_session
            .store_body(&self.settings.request_memory, &mut body)
            .await?;
        let size = open_session.hasher.length();
        let failure = failure(id, size, received, chunk.length);
        let resume = match &failure {
            // It seems to be all there is.
            None if begins && !chunk.counted && size > 0 && open_session.writer.is_unstored() => {
                self.store_whole(store, open_session).await?
            }
            _ => self.record(store, repository, id, open_session).await?,
        };
        match failure {
            Some(failure) => Err(failure),
            None => Ok(Progress {
                id: id.clone(),
                size,
                resume: Some(resume),
            }),
        }
    }

    pub(super) async fn cancel_multipart(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        session: Session<'_>,
    ) -> Result<(), Error> {
        let id = session.id;
        self.multipart_progress(store, repository, session).await?;
        match read_record(store, repository, id).await? {
            Some((record, _)) => self.remove_multipart(store, repository, id, &record).await,
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
    async fn remove_multipart(
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

    /// Forgets what a session has in the store, whatever it is, unless it was gone on with and is not old any more: for
    /// the purge. Tells whether it did.
    pub(in crate::registry) async fn purge_multipart(
        &self,
        store: &dyn Parts,
        repository: &RepositoryName,
        id: &UploadId,
        age: Duration,
    ) -> Result<bool, Error> {
        let Some((record, (_, version))) = read_record(store, repository, id).await? else {
            return self.remove_upload(repository, id).await.map(|()| true);
        };
        // After the record was read: what is written from now on has another version, and the end is only written over
        // this one.
        if !self.is_abandoned(repository, id, age).await? {
            return Ok(false);
        }
        let end = Record {
            ended: true,
            ..Record::default()
        };
        let expected = Expected::Version(&version);
        match write_record(store, repository, id, &end, Vec::new(), expected).await {
            Ok(_) => {}
            Err(storage::Error::AlreadyExists { .. }) => return Ok(false),
            Err(source) => return Err(Error::storage("end an upload")(source)),
        }
        self.remove_multipart(store, repository, id, &record).await?;
        Ok(true)
    }

    /// Opens a writer where a state ends.
    async fn open_session(&self, key: StorageKey, state: SessionState) -> Result<OpenSession, Error> {
        let SessionState {
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
        Ok(OpenSession {
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
    async fn store_whole(&self, store: &dyn Parts, open_session: OpenSession) -> Result<Resume, Error> {
        let OpenSession { hasher, writer, .. } = open_session;
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
        open_session: OpenSession,
    ) -> Result<Resume, Error> {
        let failed = Error::storage("store a part of an upload");
        let OpenSession {
            hasher,
            writer,
            version,
        } = open_session;
        if hasher.length() == 0 {
            return Ok(Resume::Fresh);
        }
        let (upload, tail) = writer.into_parts_and_tail().await.map_err(&failed)?;
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
}

/// A session with a writer where it ends.
struct OpenSession {
    writer: PartWriter,
    hasher: Hasher,
    version: Option<Version>,
}

impl OpenSession {
    /// As [`store_body`], into this session.
    async fn store_body<B>(&mut self, memory: &Budget, body: &mut B) -> Result<StoredBody, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Unpin,
    {
        store_body(memory, &mut self.writer, &mut self.hasher, body).await
    }
}

/// Where a session stands, if that is where the client goes on.
async fn open(
    store: &dyn Parts,
    repository: &RepositoryName,
    session: Session<'_>,
    offset: Offset,
) -> Result<SessionState, Error> {
    let id = session.id;
    let known = match session.resume {
        Some(Resume::Fresh) => Some(SessionState::empty()),
        Some(Resume::Whole { hash, .. }) => Some(SessionState {
            tail: Tail::Blob(hash.digest()),
            hasher: hash.clone(),
            ..SessionState::empty()
        }),
        Some(Resume::Recorded) | None => None,
    };
    let fits = |state: &SessionState| match offset {
        Offset::At(offset) => offset == state.size(),
        Offset::End => true,
    };
    let state = match known {
        Some(state) if fits(&state) => return Ok(state),
        // The client knows of more than it was told: the answer before broke off.
        known => match read_record(store, repository, id).await? {
            Some((record, _)) if record.ended => return Err(unknown(repository, id)),
            Some((record, (tail, version))) => SessionState {
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

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(all(test, feature = "stores"))]
mod tests;
