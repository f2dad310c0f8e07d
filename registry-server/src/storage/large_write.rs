//! How a store takes an object that is too big to be put in one step.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Error, Multipart, StorageKey};

/// The two ways in which stores take big objects.
pub enum LargeWrite<'a> {
    /// Bytes are appended to a staged object, which then gets its name: folders and memory.
    Append(&'a dyn Append),
    /// Parts are stored one by one under numbers and put together in the end: object stores.
    Multipart(&'a dyn Multipart),
}

impl<'a> LargeWrite<'a> {
    /// The store, if it appends.
    pub fn append(self) -> Option<&'a dyn Append> {
        match self {
            Self::Append(append) => Some(append),
            Self::Multipart(_) => None,
        }
    }

    /// The store, if it takes multipart uploads.
    pub fn multipart(self) -> Option<&'a dyn Multipart> {
        match self {
            Self::Append(_) => None,
            Self::Multipart(multipart) => Some(multipart),
        }
    }
}

/// A store that can append. [`Append::stage`] gives a writer for bytes that no
/// [`Driver::read`](super::Driver::read) of the final name sees; [`Append::publish`] gives them that name.
#[async_trait]
pub trait Append: Send + Sync {
    /// Opens a staged object for appending. Only one writer exists at a time, over all processes on the store
    /// that see each other's locks.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::OffsetMismatch`] for [`Staged::At`], [`Error::Busy`] while another
    /// writer is open, or the store's own.
    async fn stage(&self, key: &StorageKey, staged: Staged) -> Result<Box<dyn Writer>, Error>;

    /// Turns a staged object of `size` bytes into the object `target`, which it replaces. When this returned, `target`
    /// survives a loss of power. The writer of the staged object must have been dropped.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::OffsetMismatch`] when another writer appended meanwhile, [`Error::Busy`],
    /// [`Error::Full`], or the store's own. After an error the staged object is still there unless `target` is;
    /// after [`Error::Lost`] neither is.
    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error>;
}

/// Which staged object is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// A new, empty one.
    New,
    /// The existing one, which must hold this many bytes.
    At(u64),
    /// The existing one, whatever its size.
    AtEnd,
}

/// Appends to a staged object. Dropping the writer keeps the bytes and lets the next writer in.
#[async_trait]
pub trait Writer: Send {
    /// The size of the staged object in bytes.
    fn size(&self) -> u64;

    /// Appends. When it returned, the bytes survive a crash of this process.
    ///
    /// # Errors
    /// [`Error::Full`], or the store's own. A part of the bytes may have been written; a new writer gives the size.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Makes all bytes written so far survive a loss of power.
    ///
    /// # Errors
    /// [`Error::Lost`]: the staged object is gone and must not be written to any more.
    async fn sync(&mut self) -> Result<(), Error>;
}
