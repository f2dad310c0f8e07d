//! Checks that the root folder of a store is still the one that was there at the start.
//!
//! Without this check, a store that was renamed or unmounted looks like an empty store: pulls are answered 404, and pushes go
//! into a new folder, or into the folder under the mount point.
//!
//! The folder is held open and compared with the folder at its path. While it is open its inode number is not reused, and its
//! file system can be unmounted only by force. A file system that was mounted again may have another device number; it counts
//! as the same if the folder's inode number and time of birth are the same.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags, open};

use crate::storage::{Error, StorageKey};

/// The identity of a store's root folder.
#[derive(Debug)]
pub(super) struct RootIdentity {
    folder: Mutex<Held>,
}

/// An open folder and its identity.
#[derive(Debug)]
struct Held {
    _open: File,
    device: u64,
    number: u64,
    born: Option<SystemTime>,
}

impl Held {
    fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(open(root, flags, Mode::empty())?);
        let found = folder.metadata()?;
        Ok(Self {
            _open: folder,
            device: found.dev(),
            number: found.ino(),
            born: found.created().ok(),
        })
    }
}

impl RootIdentity {
    /// The identity of the folder at this path.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Mutex::new(Held::open(root)?),
        })
    }

    /// Checks that the folder is still at this path.
    ///
    /// # Errors
    /// The reason why it is not.
    pub(super) fn check(&self, root: &Path) -> io::Result<()> {
        let named = fs::metadata(root)?;
        let mut held = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if held.number == named.ino() && held.device == named.dev() {
            return Ok(());
        }
        if held.number == named.ino() && held.born == named.created().ok() {
            *held = Held::open(root)?;
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StaleNetworkFileHandle,
            "another folder is at its path",
        ))
    }
}

/// The error of a call when the check of the root folder failed: it is missing, or it cannot be read.
pub(super) fn error(action: &'static str, key: &StorageKey, source: io::Error) -> Error {
    let key = key.clone();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::StaleNetworkFileHandle => {
            Error::Gone { action, key, source }
        }
        _ => Error::Io { action, key, source },
    }
}

/// Device and inode number of an open file.
pub(super) fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino()))
}
