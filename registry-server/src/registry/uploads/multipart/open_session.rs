//! A session in an object store: how far it is, and the writer that continues it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use registry_oci::{Digest, Hasher, RepositoryName, UploadId};

use super::record::{MultipartUpload, SessionRecord, read_record, write_record};
use super::writer::PartWriter;
use crate::memory_budget::MemoryBudget;
use crate::registry::store_body::{BodyError, StoredBody, store_body};
use crate::registry::uploads::errors::unknown;
use crate::registry::uploads::resume::Resume;
use crate::registry::uploads::session::{Offset, Session};
use crate::registry::{Error, Registry};
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Expected, Multipart, ObjectVersion, StorageKey};

/// How far a session is.
pub(super) struct SessionState {
    hasher: Hasher,
    upload: Option<MultipartUpload>,
    tail: Tail,
    /// The version of the record, if there is one.
    version: Option<ObjectVersion>,
}

/// The bytes behind the last part.
enum Tail {
    Bytes(Bytes),
    /// All bytes of the session, stored as a blob.
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

    /// The state of a session, if its client continues where the session ends.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::UploadOffset`], or the store's.
    pub(super) async fn of_session(
        store: &dyn Multipart,
        repository: &RepositoryName,
        session: Session<'_>,
        offset: Offset,
    ) -> Result<Self, Error> {
        let id = session.id;
        let known = match session.resume {
            Some(Resume::Fresh) => Some(Self::empty()),
            Some(Resume::Whole { hash, .. }) => Some(Self {
                tail: Tail::Blob(hash.digest()),
                hasher: hash.clone(),
                ..Self::empty()
            }),
            Some(Resume::Recorded) | None => None,
        };
        let fits = |state: &Self| match offset {
            Offset::At(offset) => offset == state.size(),
            Offset::End => true,
        };
        let state = match known {
            Some(state) if fits(&state) => return Ok(state),
            // The client has sent more than its state says: the last answer did not reach it.
            known => match read_record(store, repository, id).await? {
                Some(found) if found.record.ended => return Err(unknown(repository, id)),
                Some(found) => Self {
                    hasher: found.record.hash,
                    upload: found.record.upload,
                    tail: Tail::Bytes(found.tail),
                    version: Some(found.version),
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

    /// How many bytes the session has.
    pub(super) fn size(&self) -> u64 {
        self.hasher.length()
    }

    /// Whether nothing of the session is stored.
    pub(super) fn is_fresh(&self) -> bool {
        self.size() == 0 && self.version.is_none()
    }

    /// The digest under which all bytes of the session are stored, if they are.
    pub(super) fn stored_whole(&self) -> Option<Digest> {
        match self.tail {
            Tail::Blob(digest) => Some(digest),
            Tail::Bytes(_) => None,
        }
    }

    /// Opens a writer at the end of the session.
    pub(super) async fn open(self, registry: &Registry, key: StorageKey) -> Result<OpenSession, Error> {
        let Self {
            hasher,
            upload,
            tail,
            version,
        } = self;
        let tail = match tail {
            Tail::Bytes(bytes) => bytes,
            Tail::Blob(digest) => {
                let blob = ObjectPath::blob_data(&digest).key();
                let bytes = registry.driver.get(&blob, hasher.length()).await;
                bytes.map_err(Error::storage("continue an upload"))?
            }
        };
        let driver = Arc::clone(&registry.driver);
        Ok(OpenSession {
            writer: PartWriter::new(driver, key, hasher.length(), upload, tail),
            hasher,
            version,
        })
    }
}

/// A session with a writer at its end.
pub(super) struct OpenSession {
    writer: PartWriter,
    hasher: Hasher,
    version: Option<ObjectVersion>,
}

/// How the bytes of a finished session are stored.
pub(super) enum FinishedBytes {
    /// Not yet: they are too few for a part.
    Blocks(Vec<Bytes>),
    /// All of them in parts.
    Upload(MultipartUpload),
}

impl OpenSession {
    /// As [`store_body`], into this session.
    pub(super) async fn store_body<B>(
        &mut self,
        memory: &MemoryBudget,
        body: &mut B,
    ) -> Result<StoredBody, Error>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Unpin,
    {
        store_body(memory, &mut self.writer, &mut self.hasher, body).await
    }

    /// How many bytes the session has.
    pub(super) fn size(&self) -> u64 {
        self.hasher.length()
    }

    /// The digest of all bytes of the session.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.digest()
    }

    /// Whether no part was begun.
    pub(super) fn is_unstored(&self) -> bool {
        self.writer.is_unstored()
    }

    /// Stores all bytes of the session under their digest.
    pub(super) async fn store_whole(self, store: &dyn Multipart) -> Result<Resume, Error> {
        let Self { hasher, writer, .. } = self;
        let key = ObjectPath::blob_data(&hasher.digest()).key();
        store
            .put_blocks(&key, writer.into_blocks(), Expected::Anything)
            .await
            .map_err(Error::storage("store a part of an upload"))?;
        Ok(Resume::stored_now(hasher))
    }

    /// Stores the last part, if there is one before it.
    pub(super) async fn finish(self) -> Result<FinishedBytes, storage::Error> {
        if self.writer.is_unstored() {
            return Ok(FinishedBytes::Blocks(self.writer.into_blocks()));
        }
        Ok(match self.writer.finish().await? {
            Some(upload) => FinishedBytes::Upload(upload),
            None => FinishedBytes::Blocks(Vec::new()),
        })
    }

    /// Aborts the upload in parts, as far as that is possible now. The purge finds the parts that stay.
    pub(super) async fn abort(self, store: &dyn Multipart, key: &StorageKey) {
        if let Some(upload) = self.writer.into_upload().await
            && let Err(error) = store.abort(key, &upload.name).await
        {
            tracing::debug!(%key, %error, "parts that are of no use any more stay until the purge");
        }
    }
}

/// Writes the record of how far a session is.
///
/// # Errors [`Error::UploadOffset`] when another request continued from the same state, [`Error::UploadUnknown`], or
/// the store's.
pub(super) async fn save_record(
    store: &dyn Multipart,
    repository: &RepositoryName,
    id: &UploadId,
    session: OpenSession,
) -> Result<Resume, Error> {
    let failed = Error::storage("store a part of an upload");
    let OpenSession {
        hasher,
        writer,
        version,
    } = session;
    if hasher.length() == 0 {
        return Ok(Resume::Fresh);
    }
    let (upload, tail) = writer.into_parts_and_tail().await.map_err(&failed)?;
    let record = SessionRecord {
        hash: hasher,
        upload,
        ended: false,
    };
    let expected = version.as_ref().map_or(Expected::Nothing, Expected::Version);
    let written = write_record(store, repository, id, &record, tail, expected).await;
    let Err(source) = written else {
        return Ok(Resume::Recorded);
    };
    // The write may have been refused, or its answer was lost, or the connection was closed on the unread bytes of a
    // refused write. The record in the store tells which.
    match (source, read_record(store, repository, id).await?) {
        (_, Some(found)) if found.record == record => Ok(Resume::Recorded),
        (source, Some(found)) if Some(&found.version) != version.as_ref() && !found.record.ended => {
            tracing::debug!(%repository, %id, error = %source, "another request continued from the same state");
            Err(Error::UploadOffset {
                id: id.clone(),
                expected: record.hash.length(),
                actual: found.record.hash.length(),
            })
        }
        (storage::Error::AlreadyExists { .. }, _) => Err(unknown(repository, id)),
        (source, _) => Err(failed(source)),
    }
}
