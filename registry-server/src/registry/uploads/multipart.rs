//! Upload sessions whose bytes are stored in parts, in object stores.
//!
//! The store holds of a session that grows:
//! - Nothing, after it began: its client hands back all that is known in [`Resume`].
//! - Its bytes under their own digest, where the blob will be, after a first chunk that is smaller than a part and
//!   seems to be all. Finishing then only writes the link. Most blobs go this way, and their bytes are stored once.
//! - Otherwise: parts of an upload of `UploadData`, and a record (`UploadSession`) of how far it is, with the bytes
//!   that are too few for a part. The record is replaced as a whole, on the condition that nobody else replaced it. So
//!   of two requests that continue from one state, one is refused.
//!
//! When all bytes come with the finishing request, the digest is known before them: they are stored in parts of the
//! blob itself and nowhere else. All other uploads are put together as `UploadData` and copied within the store.
//!
//! Guarantees: integrity does not depend on the record. Parts are put together by their receipts, and the hash decides
//! in the end. Memory: a part that is being filled, one that is being sent, and two blocks of the body.
//! Start at [`MultipartUploads`].

mod finish;
mod open_session;
mod record;
mod writer;

use std::time::Duration;

use async_trait::async_trait;
use registry_oci::{Digest, RepositoryName, UploadId};

use self::finish::Finish;
use self::open_session::{SessionState, save_record};
use self::record::{SessionRecord, read_record, write_record};
use super::backend::{Body, UploadBackend};
use super::errors::{body_error, unknown};
use super::resume::Resume;
use super::session::{Chunk, Progress, Session};
use crate::registry::{BlobDescriptor, Error, Registry};
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Expected, Multipart};

/// Upload sessions of a store that takes parts.
pub(super) struct MultipartUploads<'a> {
    registry: &'a Registry,
    store: &'a dyn Multipart,
}

impl<'a> MultipartUploads<'a> {
    pub(super) fn new(registry: &'a Registry, store: &'a dyn Multipart) -> Self {
        Self { registry, store }
    }
}

#[async_trait]
impl UploadBackend for MultipartUploads<'_> {
    async fn start(&self, _repository: &RepositoryName) -> Result<Progress, Error> {
        self.store
            .check_reachable()
            .await
            .map_err(Error::storage("begin an upload"))?;
        Ok(Progress {
            id: UploadId::unique(),
            size: 0,
            resume: Some(Resume::Fresh),
        })
    }

    async fn progress(&self, repository: &RepositoryName, session: Session<'_>) -> Result<Progress, Error> {
        let id = session.id;
        let found = read_record(self.store, repository, id).await?;
        let (size, resume) = match (found, session.resume) {
            // The record in the store is newer than the state of any client.
            (Some(found), _) if found.record.ended => return Err(unknown(repository, id)),
            (Some(found), _) => (found.record.hash.length(), Resume::Recorded),
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

    async fn append(
        &self,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        mut body: Body,
    ) -> Result<Progress, Error> {
        let id = session.id;
        let state = SessionState::of_session(self.store, repository, session, chunk.offset).await?;
        let is_first = state.is_fresh();
        let key = ObjectPath::upload_data(repository, id).key();
        let mut open = state.open(self.registry, key).await?;
        let stored = open
            .store_body(&self.registry.settings.request_memory, &mut body)
            .await?;
        let size = open.size();
        let error = body_error(id, size, stored, chunk.length);
        let resume = match &error {
            // The first chunk seems to be all of the blob.
            None if is_first && !chunk.counted && size > 0 && open.is_unstored() => {
                open.store_whole(self.store).await?
            }
            _ => save_record(self.store, repository, id, open).await?,
        };
        match error {
            Some(error) => Err(error),
            None => Ok(Progress {
                id: id.clone(),
                size,
                resume: Some(resume),
            }),
        }
    }

    async fn finish(
        &self,
        repository: &RepositoryName,
        session: Session<'_>,
        chunk: Chunk,
        digest: &Digest,
        body: Body,
    ) -> Result<BlobDescriptor, Error> {
        let finish = Finish {
            registry: self.registry,
            store: self.store,
            repository,
            id: session.id,
            digest: *digest,
            announced: chunk.length,
        };
        finish.run(session, chunk.offset, body).await
    }

    async fn cancel(&self, repository: &RepositoryName, session: Session<'_>) -> Result<(), Error> {
        let id = session.id;
        self.progress(repository, session).await?;
        match read_record(self.store, repository, id).await? {
            Some(found) => self.remove(repository, id, &found.record).await,
            // Its client can still name the session, so its end must be recorded.
            None => {
                let end = SessionRecord::ended();
                write_record(self.store, repository, id, &end, Vec::new(), Expected::Anything)
                    .await
                    .map(drop)
                    .map_err(Error::storage("cancel an upload"))
            }
        }
    }

    async fn remove_abandoned(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        age: Duration,
    ) -> Result<bool, Error> {
        let Some(found) = read_record(self.store, repository, id).await? else {
            return self.registry.remove_upload(repository, id).await.map(|()| true);
        };
        // After the record was read: a later write gives it another version, and its end is only written over the
        // version that was read.
        if !self.registry.is_abandoned(repository, id, age).await? {
            return Ok(false);
        }
        let expected = Expected::Version(&found.version);
        match write_record(
            self.store,
            repository,
            id,
            &SessionRecord::ended(),
            Vec::new(),
            expected,
        )
        .await
        {
            Ok(_) => {}
            Err(storage::Error::AlreadyExists { .. }) => return Ok(false),
            Err(source) => return Err(Error::storage("end an upload")(source)),
        }
        self.remove(repository, id, &found.record).await?;
        Ok(true)
    }
}

impl MultipartUploads<'_> {
    /// Removes a recorded session.
    async fn remove(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        record: &SessionRecord,
    ) -> Result<(), Error> {
        if let Some(upload) = &record.upload {
            self.store
                .abort(&ObjectPath::upload_data(repository, id).key(), &upload.name)
                .await
                .map_err(Error::storage("delete an upload"))?;
        }
        self.registry.remove_upload(repository, id).await
    }
}

#[cfg(all(test, feature = "stores"))]
mod tests;
