//! Alternatives for system calls that a file system does not support: hard links, `renameat2`, locks, syncs of folders.
//!
//! Each missing call is logged once, with the consequence. Nothing is tested beforehand: the call fails, and then the next
//! best one is made.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::system_calls::SystemCalls;

/// The calls of a store's file system.
#[derive(Debug)]
pub(super) struct Capabilities {
    /// The store's name, for log lines.
    store: String,
    calls: Arc<dyn SystemCalls>,
    no_links: AtomicBool,
    no_free_rename: AtomicBool,
    no_locks: AtomicBool,
    no_folder_sync: AtomicBool,
    /// Held while a name is checked and then taken, where no system call does both.
    renaming: Mutex<()>,
}

/// The scope of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockScope {
    /// All processes: the file system has locks.
    AllProcesses,
    /// This process alone: the file system has no locks.
    ThisProcess,
}

impl Capabilities {
    pub(super) fn new(store: &str, calls: Arc<dyn SystemCalls>) -> Self {
        Self {
            store: store.to_owned(),
            calls,
            no_links: AtomicBool::new(false),
            no_free_rename: AtomicBool::new(false),
            no_locks: AtomicBool::new(false),
            no_folder_sync: AtomicBool::new(false),
            renaming: Mutex::new(()),
        }
    }

    pub(super) fn sync_file(&self, file: &File) -> io::Result<()> {
        self.calls.sync_file(file)
    }

    /// Writes a folder's names to the disk, where the file system can. A missing folder is no error.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match self.calls.sync_folder(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if is_unknown_call(&error) => {
                self.warn_once(
                    &self.no_folder_sync,
                    &error,
                    "the file system cannot sync folders: what is pushed may be lost with the power until the \
                     system has written it out by itself",
                );
                Ok(())
            }
            result => result,
        }
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.calls.rename(from, to)
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.calls.remove(path)
    }

    /// Gives a file another name, which must be free.
    ///
    /// A hard link is tried first: every local file system except FAT has hard links, and so have network file systems
    /// without the flag of `renameat2`. A crash between the link and the removal leaves the old name too.
    pub(super) fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        let unlinkable = match self.calls.link(from, to) {
            Ok(()) => return self.calls.remove(from),
            Err(error) if may_be_unknown_link(&error) => error,
            Err(error) => return Err(error),
        };
        let unknown = match self.calls.rename_to_free(from, to) {
            Err(error) if is_unknown_call(&error) => error,
            result => {
                if result.is_ok() {
                    self.warn_once(
                        &self.no_links,
                        &unlinkable,
                        "the file system refuses hard links: files are renamed to names that are free instead",
                    );
                }
                return result;
            }
        };
        self.warn_once(
            &self.no_free_rename,
            &unknown,
            "the file system knows neither hard links nor a rename that replaces nothing: of two servers on this \
             folder that create one object in the same moment, both may believe that theirs is there",
        );
        let _renaming = self.renaming.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::symlink_metadata(to) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => self.calls.rename(from, to),
            Err(error) => Err(error),
        }
    }

    /// Locks a file against other processes, where the file system can.
    pub(super) fn lock(&self, file: &File) -> Result<LockScope, TryLockError> {
        match self.calls.lock(file) {
            Ok(()) => Ok(LockScope::AllProcesses),
            Err(TryLockError::Error(error)) if is_unknown_lock(&error) => {
                self.warn_once(
                    &self.no_locks,
                    &error,
                    "the file system has no locks: two servers on this folder can write to one upload at once, whose \
                     digest then does not match",
                );
                Ok(LockScope::ThisProcess)
            }
            Err(error) => Err(error),
        }
    }

    fn warn_once(&self, said: &AtomicBool, error: &io::Error, what: &str) {
        if !said.swap(true, Ordering::Relaxed) {
            tracing::warn!(store = self.store, %error, "{what}");
        }
    }
}

/// Whether the file system or the kernel does not support a call or its flag: `EINVAL`, `EOPNOTSUPP`, `ENOSYS`.
fn is_unknown_call(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// Whether a link may have failed because the file system has no hard links. The error of FAT is `EPERM`; Linux has the same
/// error for a file of another user (`fs.protected_hardlinks`), which can be renamed as well.
fn may_be_unknown_link(error: &io::Error) -> bool {
    is_unknown_call(error)
        || matches!(
            error.kind(),
            ErrorKind::PermissionDenied | ErrorKind::TooManyLinks
        )
}

/// Whether the file system has no locks: `ENOLCK` on NFS without its lock service, or an unsupported call.
fn is_unknown_lock(error: &io::Error) -> bool {
    is_unknown_call(error) || error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
}
