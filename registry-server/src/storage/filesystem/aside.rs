//! Files that a conditional removal has set aside, and their way back.
//!
//! A removal renames a file to `<name>.<uuid>.aside`, looks at it, and then removes it or puts it back (`conditional`).
//! It holds the lock on the file all the while, and the kernel drops that lock when the process is killed. So a file
//! that is set aside and not locked was left by a removal that is over, and it is put back: by whoever looks for its
//! name, by a listing of its folder, and by a sweep. What is under the name again is younger and stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::capabilities::Reach;
use super::handle::Handle;
use super::{Shared, files};
use crate::storage::{Error, StorageKey};

/// The ending of names that are set aside. No list shows them, and no sweep removes them.
const ASIDE: &str = ".aside";

/// How many names of a folder are looked through for one that was set aside. An object that others rely on has a folder of
/// its own; in larger folders a listing or a sweep finds it.
const LOOKED_THROUGH: usize = 64;

/// How long a file must have been set aside where no lock tells that its removal is over.
const OVER: Duration = Duration::from_secs(60);

/// A name to set a file aside under.
pub(super) fn name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}{ASIDE}", Uuid::new_v4().hyphenated()));
    name.into()
}

/// The name a file had before it was set aside.
pub(super) fn original(name: &str) -> Option<&str> {
    let (original, id) = name.strip_suffix(ASIDE)?.rsplit_once('.')?;
    Uuid::try_parse(id).is_ok().then_some(original)
}

/// Does something that needs an object, once more if the object was set aside and is back.
pub(super) fn or_restored<T>(
    shared: &Shared,
    key: &StorageKey,
    act: impl Fn() -> Result<T, Error>,
) -> Result<T, Error> {
    match act() {
        Err(Error::NotFound { .. }) if restore_by_name(shared, &shared.path(key)) => act(),
        result => result,
    }
}

/// Opens and locks a file that may be set aside. Nothing where this user may not open it.
///
/// # Errors
/// As [`Handle::locked`].
pub(super) fn hold(shared: &Shared, key: &StorageKey, path: &Path) -> Result<Option<Handle>, Error> {
    match open(path) {
        Ok(file) => Handle::locked(&shared.capabilities, key, file, path).map(Some),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(Error::io("open", key, error)),
    }
}

/// NFS locks only what is open for writing.
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

/// Gives a file its name back, unless the name is taken; tells whether it was free.
///
/// # Errors
/// The system's; the file is then still aside, and the next look finds it.
pub(super) fn put_back(shared: &Shared, aside: &Path, path: &Path) -> io::Result<bool> {
    match shared.capabilities.rename_to_free(aside, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            files::remove_quietly(aside);
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

/// Ends what is aside under a name that is about to be removed, or it would come back in place of what was removed: it goes
/// where the name is taken, and has its name back where that is free.
pub(super) fn clear(shared: &Shared, path: &Path) {
    restore_by_name(shared, path);
}

/// Tells whether anything was aside under a name, which whoever looks at the same moment may have put back.
fn restore_by_name(shared: &Shared, path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    let mut met = false;
    for entry in entries.take(LOOKED_THROUGH).flatten() {
        if entry.file_name().to_str().and_then(original) == Some(name) {
            restore(shared, &entry.path(), path);
            met = true;
        }
    }
    met
}

/// Puts a file back whose removal is over. Tells whether it did.
pub(super) fn restore(shared: &Shared, aside: &Path, path: &Path) -> bool {
    // For messages alone.
    let Some(key) = shared.key(path) else { return false };
    let held = match hold(shared, &key, aside) {
        Ok(held) => held,
        // Its removal goes on, or is over this moment.
        Err(Error::Busy { .. } | Error::NotFound { .. }) => return false,
        Err(error) => {
            tracing::debug!(%key, %error, "a file that was set aside cannot be looked at");
            return false;
        }
    };
    let unlocked = held
        .as_ref()
        .is_none_or(|held| held.reach() == Reach::ThisProcess);
    if unlocked && !is_old(aside) {
        return false;
    }
    match put_back(shared, aside, path) {
        Ok(true) => {
            tracing::info!(%key, "put back what a removal had set aside that was cut off");
            true
        }
        Ok(false) => false,
        Err(error) => {
            tracing::warn!(%key, %error, "what a removal had set aside cannot be put back");
            false
        }
    }
}

/// Whether a file was renamed some time ago.
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
