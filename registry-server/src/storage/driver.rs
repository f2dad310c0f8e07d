//! The trait that every store implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{
    Content, Durability, Error, LargeWrite, Listing, Metadata, Mode, OptionalExtension as _, ReadRange,
    Reclaim, Space, StorageKey, Swept,
};

/// A store of named objects: a folder, memory, a bucket.
///
/// Guarantees of every driver:
/// - An object appears whole or not at all, and is replaced whole or not at all: no reader sees a part of a write.
/// - When a call returned, every later call of any process sees its effect.
/// - An object that was put survives what its [`Durability`] names.
/// - Dropping a future half-way is safe: the call happened, or it did not.
///
/// A big object is not put. It is written piece by piece, in one of two ways: see [`LargeWrite`]. What a garbage
/// collection needs beyond these calls is in [`Reclaim`].
///
/// Drivers may differ in: their way of large writes, whether empty prefixes exist (a folder may be empty, a prefix in a
/// bucket cannot), the order of a listing, and whether [`Driver::redirect`] gives a URL.
#[async_trait]
pub trait Driver: Reclaim + fmt::Debug + 'static {
    /// The driver's name as configuration spells it; for log lines.
    fn name(&self) -> &'static str;

    /// Size and time of an object. A staged object has a size too: the bytes that a crash of this process would leave.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error>;

    /// Sizes and times of several objects, in the order of `keys`; `None` for an object that does not exist.
    ///
    /// # Errors
    /// The store's own.
    async fn stat_all(&self, keys: &[StorageKey]) -> Result<Vec<Option<Metadata>>, Error> {
        let stats = keys.iter().map(|key| self.try_stat(key));
        stream::iter(stats.collect::<Vec<_>>())
            .buffered(STATS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Size and time of an object; `None` when it does not exist.
    ///
    /// # Errors
    /// The store's own.
    async fn try_stat(&self, key: &StorageKey) -> Result<Option<Metadata>, Error> {
        self.stat(key).await.optional()
    }

    /// Reads a whole small object.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooLarge`] when it has more than `limit` bytes, or the store's own.
    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error>;

    /// Reads a whole small object with its size and time.
    ///
    /// # Errors
    /// As [`Driver::get`].
    async fn get_dated(&self, key: &StorageKey, limit: u64) -> Result<(Bytes, Metadata), Error> {
        let mut content = self.read(key, ReadRange::Full).await?;
        let (size, modified) = (content.size, content.modified);
        if size > limit {
            let key = key.clone();
            return Err(Error::TooLarge { key, size, limit });
        }
        let mut bytes = BytesMut::new();
        while let Some(block) = content.try_next().await? {
            bytes.extend_from_slice(&block);
        }
        Ok((bytes.freeze(), Metadata { size, modified }))
    }

    /// Reads an object, or a part of it, as a stream. The stream gives the version that was there at the call, even
    /// when the object is replaced or deleted while it is read.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::RangeNotSatisfiable`], or the store's own. A stream that cannot give all bytes ends
    /// with [`Error::Truncated`].
    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error>;

    /// Writes a small object in one step.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] under [`Mode::Create`], [`Error::Full`], or the store's own. After an error either the
    /// old value or the new one is there.
    async fn put(
        &self,
        key: &StorageKey,
        bytes: Bytes,
        mode: Mode,
        durability: Durability,
    ) -> Result<(), Error>;

    /// Removes one object.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn delete(&self, key: &StorageKey) -> Result<(), Error>;

    /// Removes everything at and below a key. A key with nothing at or below it is no error. Not atomic: a reader may
    /// find some of it removed and the rest still there.
    ///
    /// # Errors
    /// The store's own.
    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), Error>;

    /// Makes existing objects survive a loss of power, in case a process that was killed, or whose sync failed, put them
    /// there. A caller that tells a client not to send an object calls this first. Objects that do not exist are no
    /// error.
    ///
    /// # Errors
    /// The store's own.
    async fn persist(&self, _keys: &[StorageKey]) -> Result<(), Error> {
        // A store in which objects are visible only when they are durable has nothing to do.
        Ok(())
    }

    /// The names directly below a prefix, each once, in no particular order. Remains of interrupted writes are left out.
    /// A prefix that does not exist is empty.
    ///
    /// # Errors
    /// The store's own.
    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error>;

    /// The size of the store's file system; `None` for a store that has none of its own.
    ///
    /// # Errors
    /// The store's own.
    async fn space(&self) -> Result<Option<Space>, Error> {
        Ok(None)
    }

    /// How this store takes an object that is too big to be put in one step.
    fn large_write(&self) -> LargeWrite<'_>;

    /// Whether clients can fetch objects from the store itself.
    fn redirects(&self) -> bool {
        false
    }

    /// A URL under which a client can fetch the object from the store itself for a while, if the store has such URLs.
    /// It is not checked whether the object exists.
    ///
    /// # Errors
    /// The store's own.
    async fn redirect(&self, key: &StorageKey) -> Result<Option<String>, Error>;

    /// Removes the remains of interrupted writes that are older than `age`. Staged objects stay: a store cannot know
    /// whether one is still needed.
    ///
    /// # Errors
    /// The store's own.
    async fn sweep(&self, age: Duration) -> Result<Swept, Error>;
}

/// How many objects [`Driver::stat_all`] asks for at once.
const STATS_AT_ONCE: usize = 16;
