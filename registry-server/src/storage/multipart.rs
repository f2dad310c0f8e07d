//! Multipart uploads: how object stores take big objects, and the conditional writes that go with them.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Error, StorageKey};

/// A store that takes objects in parts ("multipart uploads"). An upload that was begun under a key is no object there
/// until it is completed. Any process that knows the upload's name may continue it.
#[async_trait]
pub trait Multipart: Send + Sync {
    /// The size in bytes of the part that begins at an offset. It is a function of the offset alone, so that a server
    /// that continues an upload cuts parts as the one that began it. Every part but the last has exactly this size.
    fn part_size(&self, offset: u64) -> u64;

    /// Whether the store answers. A request is sent only if something failed lately. A caller that promises something
    /// without a request of its own asks this first.
    ///
    /// # Errors
    /// The store's own.
    async fn check_reachable(&self) -> Result<(), Error>;

    /// Begins an upload of an object. Gives the upload's name.
    ///
    /// # Errors
    /// The store's own.
    async fn begin(&self, key: &StorageKey) -> Result<String, Error>;

    /// Stores a part, numbered from 0; a part with this number is replaced. Gives the receipt by which
    /// [`Multipart::complete`] knows exactly these bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such upload, or the store's own.
    async fn put_part(
        &self,
        key: &StorageKey,
        upload: &str,
        number: usize,
        blocks: Vec<Bytes>,
    ) -> Result<String, Error>;

    /// Makes the object out of the parts with these receipts, in order. An object under the key is replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the upload does not exist any more: it was aborted, or it was completed by a call whose
    /// answer was lost. Which of the two it was can be seen from the object. Or the store's own, also when a part is not
    /// the one its receipt is for.
    async fn complete(&self, key: &StorageKey, upload: &str, receipts: &[String]) -> Result<(), Error>;

    /// Ends an upload and forgets its parts. An upload that does not exist is no error.
    ///
    /// # Errors
    /// The store's own.
    async fn abort(&self, key: &StorageKey, upload: &str) -> Result<(), Error>;

    /// Copies an object of `size` bytes within the store.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn copy(&self, from: &StorageKey, to: &StorageKey, size: u64) -> Result<(), Error>;

    /// Writes an object in one step from blocks, if the expectation holds. Gives the object's version.
    ///
    /// On a store without conditional writes the last writer wins, whatever was expected.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the expectation does not hold, or the store's own.
    async fn put_blocks(
        &self,
        key: &StorageKey,
        blocks: Vec<Bytes>,
        expected: Expected<'_>,
    ) -> Result<ObjectVersion, Error>;

    /// Reads a whole object with its version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooLarge`], or the store's own.
    async fn get_version(&self, key: &StorageKey, limit: u64) -> Result<(Bytes, ObjectVersion), Error>;

    /// Removes several objects. Objects that do not exist are no error.
    ///
    /// # Errors
    /// The store's own.
    async fn delete_all(&self, keys: &[StorageKey]) -> Result<(), Error>;

    /// The uploads below this store's root that were begun and not completed. Empty where the store does not list them.
    ///
    /// # Errors
    /// The store's own.
    async fn unfinished(&self) -> Result<Vec<UnfinishedUpload>, Error>;
}

/// The condition of a write: the object that is expected under its key.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// An object or none.
    Anything,
    /// No object.
    Nothing,
    /// An object of this version.
    Version(&'a ObjectVersion),
}

/// Tells one version of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The entity tag, on stores that have one.
    pub(super) e_tag: Option<String>,
    /// The version or generation number, on stores that count versions.
    pub(super) number: Option<String>,
}

/// An upload in parts that was begun and not completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The key of the object it would become.
    pub key: StorageKey,
    /// The name of the upload.
    pub upload: String,
    /// When its last part was stored, or when it was begun while it has none.
    pub modified: SystemTime,
    /// The size of its parts in bytes.
    pub bytes: u64,
}
