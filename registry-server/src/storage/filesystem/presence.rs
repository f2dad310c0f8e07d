//! Whether the folder of a store is still the one that was there at the start.
//!
//! Without that, a store that is renamed away or unmounted looks like an empty one: pulls are 404, and pushes go into a
//! folder that is made anew, or into what lies under the mount point.
//!
//! The folder is held open and compared with what its path leads to. Held open, its number is not given to another one;
//! nor can its file system be unmounted but by force. A file system that was mounted again may have another device
//! number, and counts as the same by the folder's own number and time of birth.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags, open};

use crate::storage::{Error, StorageKey};

/// The folder of a store.
#[derive(Debug)]
pub(super) struct Presence {
    folder: Mutex<Held>,
}

/// A folder that is held open, and what tells it from others, which does not change.
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

impl Presence {
    /// The folder that is there now.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Mutex::new(Held::open(root)?),
        })
    }

    /// Looks whether it is still there.
    ///
    /// # Errors
    /// Why it is not.
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

/// What a folder that is not there means for a call. A folder that cannot be looked at is another matter.
pub(super) fn error(action: &'static str, key: &StorageKey, source: io::Error) -> Error {
    let key = key.clone();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::StaleNetworkFileHandle => {
            Error::Gone { action, key, source }
        }
        _ => Error::Io { action, key, source },
    }
}

/// Device and number of an open file.
pub(super) fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino()))
}
