//! What every store can do.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{Content, Error, StorageKey};

/// A store of named objects: a folder, memory, a bucket.
///
/// Guarantees of every driver:
/// - An object appears whole or not at all, and is replaced whole or not at all: no reader sees a part of a write.
/// - When a call returned, every later call of any process sees its effect.
/// - What was put survives what its [`Durability`] names.
/// - Dropping a future half-way is safe: the call happened, or it did not.
///
/// Big objects are not put but taken in piece by piece, which stores do in two ways: see [`Intake`].
///
/// Drivers may differ in: their intake, whether empty prefixes exist (a folder may be empty, a prefix in a bucket
/// cannot), the order of a listing, and whether [`Driver::redirect`] gives a URL.
#[async_trait]
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// The driver's name as configuration spells it; for log lines.
    fn name(&self) -> &'static str;

    /// Size and time of an object. A staged object has a size too: what a crash of this process would leave.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error>;

    /// Sizes and times of several objects, in the order they were asked for; nothing where there is no object.
    ///
    /// # Errors
    /// The store's own.
    async fn stat_all(&self, keys: &[StorageKey]) -> Result<Vec<Option<Metadata>>, Error> {
        let looks = keys.iter().map(|key| self.try_stat(key));
        stream::iter(looks.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Size and time of an object that may be there or not.
    ///
    /// # Errors
    /// The store's own.
    async fn try_stat(&self, key: &StorageKey) -> Result<Option<Metadata>, Error> {
        match self.stat(key).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A small object, whole.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooLarge`] when it has more than `limit` bytes, or the store's own.
    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error>;

    /// The same, and when it was written.
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

    /// An object or a part of it as a stream. The stream belongs to the version that was there at the call, even
    /// when the object is replaced or deleted while it is read.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::RangeNotSatisfiable`], or the store's own. The stream ends with
    /// [`Error::Truncated`] rather than early.
    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error>;

    /// Writes a small object in one step.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] under [`Mode::Create`], [`Error::Full`], or the store's own. After an error the
    /// old value is still there, or the new one is.
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

    /// Removes everything at and below a key; nothing there is no error. Not atomic: a reader may see a part of
    /// it gone.
    ///
    /// # Errors
    /// The store's own.
    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), Error>;

    /// Size of an object and when it was written or refreshed last, whichever is later.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.stat(key).await
    }

    /// Makes an object, or a staged one, as young as one that is written now, for [`Driver::stat_touched`] and
    /// [`Driver::delete_if`]; [`Driver::stat`] may tell the old time.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn touch(&self, key: &StorageKey) -> Result<(), Error>;

    /// Makes objects that are there survive power loss, where a process that was killed, or whose sync failed, may have
    /// put them there. For whoever tells a client that it need not send them. Those that are not there are no error.
    ///
    /// # Errors
    /// The store's own.
    async fn persist(&self, _keys: &[StorageKey]) -> Result<(), Error> {
        // Where nothing is seen before it is durable, there is nothing to do.
        Ok(())
    }

    /// Removes one object if a condition holds; gives what was removed, and nothing when it does not hold. Prefixes
    /// that become empty go too, where there are such, up to `prune_root`, which stays.
    ///
    /// Looking and removing are one step: an object that [`Driver::touch`] found is not removed by a call whose
    /// limit lies before that, and one that was replaced is not removed for what it held before, however the two
    /// meet; the latter where whoever replaces it asks [`Driver::confirm_put`]. A reader may miss an object for a moment in which the condition turns out not to hold.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        prune_root: &StorageKey,
        durability: Durability,
    ) -> Result<Option<Metadata>, Error>;

    /// Whether an object that was just put stands: a [`Driver::delete_if`] for what was there before may have met the
    /// put half-way. `false` means that it took the new object as well, which then is to be put again.
    ///
    /// # Errors
    /// The store's own.
    async fn confirm_put(&self, _key: &StorageKey) -> Result<bool, Error> {
        // Where looking and removing are one step, there is no half-way.
        Ok(true)
    }

    /// What lies directly below a prefix, each name once, in no particular order, without what an interrupted
    /// write left behind. A prefix that does not exist is empty.
    ///
    /// # Errors
    /// The store's own.
    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error>;

    /// Removes the prefixes at and below `prefix` if no object lies below it, and then those above it that are empty, up
    /// to `prune_root`, which stays. Whoever is about to write there makes them again. Tells whether nothing is there now:
    /// always, where empty prefixes do not exist and nothing has to be done.
    ///
    /// # Errors
    /// The store's own.
    async fn prune(&self, _prefix: &StorageKey, _shelf: &StorageKey) -> Result<bool, Error> {
        Ok(true)
    }

    /// Whether empty prefixes exist, and [`Driver::prune`] does anything.
    fn keeps_empty_prefixes(&self) -> bool {
        false
    }

    /// How this store takes in what is too big to be put in one step.
    fn intake(&self) -> Intake<'_>;

    /// Whether clients can fetch objects from the store itself.
    fn redirects(&self) -> bool {
        false
    }

    /// A URL under which a client can fetch the object from the store itself for a while, if the store has such URLs.
    /// Whether the object is there is not looked at.
    ///
    /// # Errors
    /// The store's own.
    async fn redirect(&self, key: &StorageKey) -> Result<Option<String>, Error>;

    /// Removes what interrupted writes left behind and what is older than `age`. Staged objects are not touched:
    /// whether one is still wanted is not a store's to know.
    ///
    /// # Errors
    /// The store's own.
    async fn sweep(&self, age: Duration) -> Result<Swept, Error>;
}

/// How many objects are looked at at once when many are asked for.
const AT_ONCE: usize = 16;

/// The ways in which stores take in big objects.
pub enum Intake<'a> {
    /// Bytes are appended to a staged object, which then gets its name: files.
    Append(&'a dyn Append),
    /// Parts are stored one by one under numbers and put together in the end: object stores.
    Parts(&'a dyn Parts),
}

impl<'a> Intake<'a> {
    /// The store, if it appends.
    pub fn append(self) -> Option<&'a dyn Append> {
        match self {
            Self::Append(append) => Some(append),
            Self::Parts(_) => None,
        }
    }

    /// The store, if it takes parts.
    pub fn parts(self) -> Option<&'a dyn Parts> {
        match self {
            Self::Append(_) => None,
            Self::Parts(parts) => Some(parts),
        }
    }
}

/// A store that can append: [`Append::stage`] gives a writer for bytes that no [`Driver::read`] of the final name
/// sees, and [`Append::publish`] gives them that name.
#[async_trait]
pub trait Append: Send + Sync {
    /// Opens a staged object for appending. Only one writer exists at a time, over all processes on the store
    /// that see each other's locks.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::OffsetMismatch`] for [`Staged::At`], [`Error::Busy`] while another
    /// writer is open, or the store's own.
    async fn stage(&self, key: &StorageKey, staged: Staged) -> Result<Box<dyn Writer>, Error>;

    /// Turns a staged object of `size` bytes into the object `target`, replacing what is there, durably: when
    /// this returned, `target` survives power loss. Its writer must have been dropped.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::OffsetMismatch`] when somebody appended meanwhile, [`Error::Busy`],
    /// [`Error::Full`], or the store's own. After an error the staged object is still there unless `target` is;
    /// [`Error::Lost`]: neither is.
    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error>;
}

/// A store that takes objects in parts ("multipart uploads"). What is begun under a key is no object there until it
/// is completed; any process that knows the upload's name may go on with it.
#[async_trait]
pub trait Parts: Send + Sync {
    /// How many bytes a part has that begins at an offset: a rule of the offset alone, so that whoever goes on cuts
    /// as whoever began. Every part but the last has exactly this size.
    fn part_size(&self, offset: u64) -> u64;

    /// Whether the store answers, as far as that is in doubt: it is asked only when something failed lately. For whoever
    /// is to promise something that needs no request.
    ///
    /// # Errors
    /// The store's own.
    async fn answers(&self) -> Result<(), Error>;

    /// Begins an upload of an object and names it.
    ///
    /// # Errors
    /// The store's own.
    async fn begin(&self, key: &StorageKey) -> Result<String, Error>;

    /// Stores a part, numbered from 0, in place of one that has this number; gives the receipt by which
    /// [`Parts::complete`] knows exactly these bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such upload, or the store's own.
    async fn part(
        &self,
        key: &StorageKey,
        upload: &str,
        number: usize,
        blocks: Vec<Bytes>,
    ) -> Result<String, Error>;

    /// Makes the object out of the parts with these receipts, in order, replacing what is there.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such upload any more: it was aborted, or completed by a call whose answer
    /// was lost, which the object tells. Or the store's own; also when a part is not the one its receipt is for.
    async fn complete(&self, key: &StorageKey, upload: &str, receipts: &[String]) -> Result<(), Error>;

    /// Ends an upload and forgets its parts; one that is not there is no error.
    ///
    /// # Errors
    /// The store's own.
    async fn abort(&self, key: &StorageKey, upload: &str) -> Result<(), Error>;

    /// Makes an object of the bytes of another one of `size` bytes, within the store.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn copy(&self, from: &StorageKey, to: &StorageKey, size: u64) -> Result<(), Error>;

    /// Writes an object in one step from the blocks that make it, if the expectation holds; gives its version.
    ///
    /// On a store that does not know conditional writes the last writer wins, whatever was expected.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when something else is there than was expected, or the store's own.
    async fn put_blocks(
        &self,
        key: &StorageKey,
        blocks: Vec<Bytes>,
        expected: Expected<'_>,
    ) -> Result<Version, Error>;

    /// An object, whole, with its version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooLarge`], or the store's own.
    async fn get_version(&self, key: &StorageKey, limit: u64) -> Result<(Bytes, Version), Error>;

    /// Removes several objects; those that are not there are no error.
    ///
    /// # Errors
    /// The store's own.
    async fn delete_all(&self, keys: &[StorageKey]) -> Result<(), Error>;

    /// The uploads that were begun below this store's root and not completed. Empty where the store tells nobody.
    ///
    /// # Errors
    /// The store's own.
    async fn unfinished(&self) -> Result<Vec<Unfinished>, Error>;
}

/// What a conditional write expects to find.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Nothing,
    /// This version.
    Version(&'a Version),
}

/// What tells one version of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The store's hash of it, or what it has instead.
    pub(super) e_tag: Option<String>,
    /// The store's number for it, where it counts.
    pub(super) number: Option<String>,
}

/// An upload in parts that was begun and not completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The object it will be.
    pub key: StorageKey,
    /// The name of the upload.
    pub upload: String,
    /// When its last part was stored, or when it was begun while it has none.
    pub modified: SystemTime,
    /// How many bytes its parts have.
    pub bytes: u64,
}

/// Appends to a staged object. Dropping it keeps what was written and lets the next writer in.
#[async_trait]
pub trait Writer: Send {
    /// How many bytes the staged object holds.
    fn size(&self) -> u64;

    /// Appends. When it returned, the bytes survive a crash of this process.
    ///
    /// # Errors
    /// [`Error::Full`], or the store's own. A part may have been written; a new writer tells how much.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Makes everything written so far survive power loss.
    ///
    /// # Errors
    /// [`Error::Lost`]: the staged object is gone and must not be written to any more.
    async fn sync(&mut self) -> Result<(), Error>;
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of this process at any instruction.
    Crash,
    /// A loss of power as well.
    PowerLoss,
}

/// When an object is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It was neither written nor refreshed later than this.
    Older(SystemTime),
    /// It is small and holds these bytes.
    Holds(Bytes),
}

/// Whether a put may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only if nothing is there.
    Create,
    /// Whatever is there.
    Replace,
}

/// Which staged object is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// A new, empty one.
    New,
    /// The existing one, which must hold this many bytes.
    At(u64),
    /// The existing one, whatever it holds.
    AtEnd,
}

/// Size and time of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Size in bytes.
    pub size: u64,
    /// When it was written last, by the store's clock.
    pub modified: SystemTime,
}

/// Which part of an object is read; the forms an HTTP range has (RFC 9110, section 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRange {
    /// Everything.
    Full,
    /// From this byte to the end.
    From(u64),
    /// From the first to the second byte, both included; an end behind the object's is its end.
    Between(u64, u64),
    /// This many bytes at the end, or everything when there are fewer.
    Last(u64),
}

impl ReadRange {
    /// The bytes meant, given the object's size; `None` when there are none.
    pub fn resolve(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::Full => Some(0..size),
            Self::From(start) => (start < size).then_some(start..size),
            Self::Between(start, end) => {
                (start < size && start <= end).then(|| start..end.saturating_add(1).min(size))
            }
            Self::Last(count) => (count > 0 && size > 0).then(|| size.saturating_sub(count)..size),
        }
    }
}

/// What lies below a prefix, as it is found.
pub type Listing = BoxStream<'static, Result<Entry, Error>>;

/// One name of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last component of its key.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What a name of a listing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// An object.
    Object,
    /// Something that has entries of its own.
    Prefix,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many objects.
    pub objects: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_http_ranges_do() {
        for (range, size, expected) in [
            (ReadRange::Full, 0, Some(0..0)),
            (ReadRange::Full, 5, Some(0..5)),
            (ReadRange::From(0), 0, None),
            (ReadRange::From(4), 5, Some(4..5)),
            (ReadRange::From(5), 5, None),
            (ReadRange::Between(0, 0), 5, Some(0..1)),
            (ReadRange::Between(1, 99), 5, Some(1..5)),
            (ReadRange::Between(3, 2), 5, None),
            (ReadRange::Between(0, u64::MAX), 5, Some(0..5)),
            (ReadRange::Last(2), 5, Some(3..5)),
            (ReadRange::Last(9), 5, Some(0..5)),
            (ReadRange::Last(0), 5, None),
            (ReadRange::Last(1), 0, None),
        ] {
            assert_eq!(range.resolve(size), expected, "{range:?} of {size}");
        }
    }
}
