//! System calls that not every file system supports, or that fail in ways the driver must handle.
//!
//! Tests replace them by calls that fail. `capabilities` has the alternatives for unsupported calls.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// System calls; the defaults are those of the operating system.
pub(crate) trait SystemCalls: fmt::Debug + Send + Sync + 'static {
    /// Writes a file's bytes to the disk.
    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Writes a folder's names to the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    /// Gives a file a second name, which must be free.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    /// Renames a file to a name that must be free.
    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    }

    /// Renames a file over whatever is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Locks a file exclusively until it is closed.
    fn lock(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock()
    }
}

/// The operating system.
#[derive(Debug)]
pub(super) struct System;

impl SystemCalls for System {}
