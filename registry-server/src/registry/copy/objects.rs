//! Copies one object: a payload, a link, or an entry of our own index.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};
use registry_oci::{Digest, MANIFEST_MAX};

use crate::registry::check::finding::Finding;
use crate::registry::verify::Verifier;
use crate::registry::{Error, Registry};
use crate::storage::layout::ObjectPath;
use crate::storage::{
    self, Content, Durability, Mode, OptionalExtension as _, ReadRange, StorageKey, put_stream,
};

/// A link or an entry of our own index is never this large.
const SMALL_MAX: u64 = MANIFEST_MAX as u64;

/// How many payloads of the target are remembered.
const KNOWN_MAX: usize = 64 * 1024;

/// The two stores, shared by the objects that are copied at once.
pub(super) struct StorePair<'a> {
    pub(super) source: &'a Registry,
    pub(super) target: &'a Registry,
    /// Bytes of payloads that were read, including payloads that are being copied.
    pub(super) bytes: AtomicU64,
    /// Payloads that the target has.
    known: Mutex<HashSet<Digest>>,
}

/// The outcome of one object.
#[derive(Debug)]
pub(super) enum CopyOutcome {
    Copied,
    /// The target had it before.
    AlreadyThere,
    /// Somebody removed it from the source.
    Gone,
    LeftOut(Box<Finding>),
}

/// Why one object was not copied.
#[derive(Debug)]
pub(super) enum ObjectError {
    /// It cannot be read; other objects may be readable.
    Read(Error),
    /// The target cannot be written to.
    Write(Error),
}

/// The errors that end the copying of a payload.
enum StreamError {
    Read(storage::Error),
    Write(storage::Error),
    Damaged,
    Hash(Error),
}

impl From<storage::Error> for StreamError {
    /// The errors of the stream are made where they occur; all others come from the target.
    fn from(error: storage::Error) -> Self {
        Self::Write(error)
    }
}

impl CopyOutcome {
    pub(super) fn left_out(finding: Finding) -> Self {
        Self::LeftOut(Box::new(finding))
    }
}

impl<'a> StorePair<'a> {
    pub(super) fn new(source: &'a Registry, target: &'a Registry) -> Self {
        Self {
            source,
            target,
            bytes: AtomicU64::new(0),
            known: Mutex::default(),
        }
    }

    /// Copies a payload.
    pub(super) async fn payload(&self, digest: Digest) -> Result<CopyOutcome, ObjectError> {
        let key = ObjectPath::blob_data(&digest).key();
        let reading = Error::storage("read a blob");
        let writing = Error::storage("write a blob");
        let Some(found) = self
            .source
            .driver
            .try_stat(&key)
            .await
            .map_err(|source| ObjectError::Read(reading(source)))?
        else {
            return Ok(CopyOutcome::Gone);
        };
        let size = found.size;
        let there = self.target.driver.try_stat(&key).await;
        let there = there.map_err(|source| ObjectError::Write(writing(source)))?;
        if there.is_some_and(|there| there.size == size) {
            return self.keep_existing(&key).await;
        }
        let Some(content) = self
            .source
            .driver
            .read(&key, ReadRange::Full)
            .await
            .optional()
            .map_err(|source| ObjectError::Read(reading(source)))?
        else {
            return Ok(CopyOutcome::Gone);
        };
        let size = content.size;
        let stream = std::pin::pin!(verified(content, digest, &self.bytes));
        match put_stream::put(&*self.target.driver, &key, size, stream).await {
            Ok(()) => Ok(CopyOutcome::Copied),
            Err(StreamError::Damaged) => Ok(CopyOutcome::left_out(Finding::BlobDamaged { digest, size })),
            Err(StreamError::Read(source)) => Err(ObjectError::Read(reading(source))),
            Err(StreamError::Hash(error)) => Err(ObjectError::Read(error)),
            Err(StreamError::Write(source)) => Err(ObjectError::Write(writing(source))),
        }
    }

    /// Copies a link, if its payload is in the target.
    pub(super) async fn link(&self, link: ObjectPath, digest: Digest) -> Result<CopyOutcome, ObjectError> {
        let Some(found) = self.source.inspect_link(&link).await.map_err(ObjectError::Read)? else {
            return Ok(CopyOutcome::Gone);
        };
        let Some(target) = found.target else {
            return Ok(CopyOutcome::left_out(Finding::LinkEmpty { link }));
        };
        if target.algorithm() == digest.algorithm() && target != digest {
            return Ok(CopyOutcome::left_out(Finding::LinkWrong { link, holds: target }));
        }
        if !self.has_payload(&target).await? {
            return Ok(CopyOutcome::left_out(Finding::LinkDangling { link, target }));
        }
        self.write_link(&link, &target).await
    }

    /// Writes a link, unless the target has it with the same digest.
    pub(super) async fn write_link(
        &self,
        link: &ObjectPath,
        target: &Digest,
    ) -> Result<CopyOutcome, ObjectError> {
        self.write_if_changed(link, Bytes::from(target.to_string())).await
    }

    /// Copies an entry of our own index.
    pub(super) async fn entry(&self, path: &ObjectPath) -> Result<CopyOutcome, ObjectError> {
        match self.source.driver.get(&path.key(), SMALL_MAX).await {
            Ok(bytes) => self.write_if_changed(path, bytes).await,
            Err(error) if error.is_not_found() => Ok(CopyOutcome::Gone),
            Err(source) => Err(ObjectError::Read(Error::storage("read our own index")(source))),
        }
    }

    /// Whether the target has a link that holds any digest.
    pub(super) async fn has_link(&self, link: &ObjectPath) -> Result<bool, ObjectError> {
        let found = self.target.inspect_link(link).await.map_err(ObjectError::Write)?;
        Ok(found.is_some_and(|link| link.target.is_some()))
    }

    async fn write_if_changed(&self, path: &ObjectPath, bytes: Bytes) -> Result<CopyOutcome, ObjectError> {
        let (key, failed) = (path.key(), Error::storage("write a link"));
        match self.target.driver.get(&key, SMALL_MAX).await {
            Ok(there) if there == bytes => return self.keep_existing(&key).await,
            Ok(_) | Err(storage::Error::TooLarge { .. }) => {}
            Err(error) if error.is_not_found() => {}
            Err(source) => return Err(ObjectError::Write(failed(source))),
        }
        self.target
            .driver
            .put(&key, bytes, Mode::Replace, Durability::PowerLoss)
            .await
            .map_err(|source| ObjectError::Write(failed(source)))?;
        Ok(CopyOutcome::Copied)
    }

    /// Skips an object that the target has. A copy that was killed may have written it without making it durable, so it
    /// is made durable here.
    async fn keep_existing(&self, key: &StorageKey) -> Result<CopyOutcome, ObjectError> {
        let persisted = self.target.persist(std::slice::from_ref(key)).await;
        persisted
            .map(|()| CopyOutcome::AlreadyThere)
            .map_err(ObjectError::Write)
    }

    /// Whether the target has a payload. No collection removes one while the copy has a heartbeat.
    async fn has_payload(&self, digest: &Digest) -> Result<bool, ObjectError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(digest) {
            return Ok(true);
        }
        let key = ObjectPath::blob_data(digest).key();
        let there = self.target.driver.try_stat(&key).await;
        let there = there.map_err(|source| ObjectError::Write(Error::storage("look for a blob")(source)))?;
        if there.is_none() {
            return Ok(false);
        }
        let mut known = known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(*digest);
        Ok(true)
    }
}

/// The bytes of a payload. The last block is held back until the bytes are found to have the digest.
fn verified(
    content: Content,
    digest: Digest,
    count: &AtomicU64,
) -> impl Stream<Item = Result<Bytes, StreamError>> + Send {
    struct State {
        content: Content,
        /// Nothing once all bytes were hashed.
        verifier: Option<Verifier>,
        /// A block that was hashed and is held back.
        held: Option<Bytes>,
    }
    let state = State {
        content,
        verifier: Some(Verifier::new(digest.algorithm())),
        held: None,
    };
    stream::try_unfold(state, move |mut state| async move {
        while let Some(verifier) = state.verifier.take() {
            let Some(block) = state.content.try_next().await.map_err(StreamError::Read)? else {
                if verifier.digest() != digest {
                    return Err(StreamError::Damaged);
                }
                break;
            };
            count.fetch_add(block.len() as u64, Ordering::Relaxed);
            state.verifier = Some(verifier.update(block.clone()).await.map_err(StreamError::Hash)?);
            if let Some(held) = state.held.replace(block) {
                return Ok(Some((held, state)));
            }
        }
        Ok(state.held.take().map(|last| (last, state)))
    })
}
