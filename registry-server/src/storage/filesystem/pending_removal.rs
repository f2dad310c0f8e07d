//! Files that a conditional removal has renamed, and how they are put back.
//!
//! A removal renames a file to `<name>.<uuid>.aside`, checks it, and then removes it or puts it back (`conditional`). It
//! holds the lock on the file meanwhile, and the kernel drops the lock when the process is killed. So a renamed file without
//! a lock was left by a killed removal. It is put back by the next call for its name, by a listing of its folder, or by a
//! sweep. If there is a new file under the name, that is younger and stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::capabilities::LockScope;
use super::file_metadata::remove_quietly;
use super::folder::Folder;
use super::handle::Handle;
use crate::storage::{Error, StorageKey};

/// The suffix of a file that is pending removal. No listing shows such files, and no sweep removes them.
const ASIDE: &str = ".aside";

/// How many names of a folder are searched for a file pending removal. An object that others rely on has a folder of its
/// own; in larger folders a listing or a sweep finds the file.
const LOOKED_THROUGH: usize = 64;

/// The age after which a removal counts as killed, on file systems without locks.
const OVER: Duration = Duration::from_secs(60);

/// A new name for a file pending removal.
pub(super) fn name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}{ASIDE}", Uuid::new_v4().hyphenated()));
    name.into()
}

/// The original name of a file pending removal.
pub(super) fn original(name: &str) -> Option<&str> {
    let (original, id) = name.strip_suffix(ASIDE)?.rsplit_once('.')?;
    Uuid::try_parse(id).is_ok().then_some(original)
}

/// Runs a call that needs an object, and runs it again if the object was pending removal and is put back.
pub(super) fn or_restored<T>(
    folder: &Folder,
    key: &StorageKey,
    act: impl Fn() -> Result<T, Error>,
) -> Result<T, Error> {
    match act() {
        Err(Error::NotFound { .. }) if restore_by_name(folder, &folder.path(key)) => act(),
        result => result,
    }
}

/// Opens and locks a file. `None` when this user may not open it.
///
/// # Errors
/// As [`Handle::locked`].
pub(super) fn hold(folder: &Folder, key: &StorageKey, path: &Path) -> Result<Option<Handle>, Error> {
    match open(path) {
        Ok(file) => Handle::locked(&folder.capabilities, key, file, path).map(Some),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(Error::io("open", key, error)),
    }
}

/// Opens a file for writing if possible, since NFS locks only such files.
fn open(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            File::open(path)
        }
        result => result,
    }
}

/// Gives a file its name back, unless there is a new file under the name. Gives whether the name was free.
///
/// # Errors
/// The system's. The file then keeps its temporary name until the next call finds it.
pub(super) fn put_back(folder: &Folder, aside: &Path, path: &Path) -> io::Result<bool> {
    match folder.capabilities.rename_to_free(aside, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            remove_quietly(aside);
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

/// Puts back the files pending removal under a name that is about to be removed. Otherwise one of them could come back later
/// in place of the removed file.
pub(super) fn clear(folder: &Folder, path: &Path) {
    restore_by_name(folder, path);
}

/// Puts back the files pending removal under a name. Gives whether there were any; another call may have put them back.
fn restore_by_name(folder: &Folder, path: &Path) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(parent) else {
        return false;
    };
    let mut met = false;
    for entry in entries.take(LOOKED_THROUGH).flatten() {
        if entry.file_name().to_str().and_then(original) == Some(name) {
            restore(folder, &entry.path(), path);
            met = true;
        }
    }
    met
}

/// Puts a file back whose removal was killed. Gives whether it did.
pub(super) fn restore(folder: &Folder, aside: &Path, path: &Path) -> bool {
    // The key is for messages alone.
    let Some(key) = folder.key(path) else { return false };
    let held = match hold(folder, &key, aside) {
        Ok(held) => held,
        // The removal is still running, or has just ended.
        Err(Error::Busy { .. } | Error::NotFound { .. }) => return false,
        Err(error) => {
            tracing::debug!(%key, %error, "a file whose removal was cut off cannot be opened");
            return false;
        }
    };
    let unlocked = held
        .as_ref()
        .is_none_or(|held| held.lock_scope() == LockScope::ThisProcess);
    if unlocked && !is_old(aside) {
        return false;
    }
    match put_back(folder, aside, path) {
        Ok(true) => {
            tracing::info!(%key, "put back a file whose removal was cut off");
            true
        }
        Ok(false) => false,
        Err(error) => {
            tracing::warn!(%key, %error, "a file whose removal was cut off cannot be put back");
            false
        }
    }
}

/// Whether a file was renamed long enough ago.
fn is_old(aside: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = fs::metadata(aside) else {
        return false;
    };
    let renamed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(found.ctime()).unwrap_or(0));
    SystemTime::now()
        .duration_since(renamed)
        .is_ok_and(|age| age >= OVER)
}
