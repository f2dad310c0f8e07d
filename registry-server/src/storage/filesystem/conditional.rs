//! Removes a file if a condition holds, as one step.
//!
//! Between a check of a file and its removal another process may replace it, or touch it and rely on it. So the file is
//! renamed first and checked then. A touch checks the name again after it has set the time. Either the name is gone then,
//! and the touch fails; or the rename comes later, and the check sees the new time and puts the file back. A removal that is
//! cut off leaves the renamed file, which is put back later: see `pending_removal`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::file_metadata::{is_absence, object_metadata};
use super::folder::Folder;
use super::{files, pending_removal};
use crate::storage::{Condition, Durability, Error, Metadata, StorageKey};

/// How long a removal waits for another removal of the same object, and how often it tries.
const WAIT_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// Sets the time of a file to now.
pub(super) fn touch(folder: &Folder, key: &StorageKey) -> Result<(), Error> {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: special(UTIME_OMIT),
        // The clock of the file system, which may be that of another machine.
        last_modification: special(UTIME_NOW),
    };
    let path = folder.path(key);
    let failed = |error| Error::io("touch", key, error);
    utimensat(CWD, &path, &times, AtFlags::empty()).map_err(|error| failed(error.into()))?;
    // The kernel looks the name up before it sets the time, so the file may have been renamed in between.
    let found = fs::metadata(&path).map_err(failed)?;
    object_metadata(key, &found).map(drop)
}

pub(super) fn delete(
    folder: &Folder,
    key: &StorageKey,
    condition: &Condition,
    prune_root: &StorageKey,
    durability: Durability,
) -> Result<Option<Metadata>, Error> {
    let path = folder.path(key);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match delete_once(folder, key, &path, condition) {
            Ok(Attempt::Stays) => return Ok(None),
            Ok(Attempt::Removed(found)) => {
                remove_empty(&path, &folder.path(prune_root));
                match durability {
                    Durability::PowerLoss => files::sync_ancestors(folder, key, &path, None)?,
                    Durability::Crash => {}
                }
                return Ok(Some(found));
            }
            Ok(Attempt::Replaced) if Instant::now() < deadline => {}
            Ok(Attempt::Replaced) => return Err(Error::Busy { key: key.clone() }),
            // Another removal of the file is running, or it is being published. This thread may block.
            Err(Error::Busy { .. }) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(error) => return Err(error),
        }
    }
}

enum Attempt {
    Removed(Metadata),
    Stays,
    /// The file was replaced meanwhile.
    Replaced,
}

fn delete_once(
    folder: &Folder,
    key: &StorageKey,
    path: &Path,
    condition: &Condition,
) -> Result<Attempt, Error> {
    let failed = |error| Error::io("delete", key, error);
    // Most files that stay are recognised without a rename.
    if !pending_removal::or_restored(folder, key, || holds(path, key, condition))?.1 {
        return Ok(Attempt::Stays);
    }
    pending_removal::clear(folder, path);
    // The lock is held until this returns. Without it, other calls would put the renamed file back.
    let held = pending_removal::hold(folder, key, path)?;
    let aside = pending_removal::name(path);
    fs::rename(path, &aside).map_err(failed)?;
    if let Some(held) = &held
        && !is_same(held, &aside).map_err(failed)?
    {
        pending_removal::put_back(folder, &aside, path).map_err(failed)?;
        return Ok(Attempt::Replaced);
    }
    let (found, holds) = holds(&aside, key, condition)?;
    if holds {
        folder.capabilities.remove(&aside).map_err(failed)?;
        return Ok(Attempt::Removed(found));
    }
    // A file that was written under the name meanwhile is younger and is not replaced.
    pending_removal::put_back(folder, &aside, path).map_err(failed)?;
    Ok(Attempt::Stays)
}

/// Whether an open file is the one at a path.
fn is_same(file: &fs::File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (ours, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino()))
}

/// Checks the condition for a file.
fn holds(path: &Path, key: &StorageKey, condition: &Condition) -> Result<(Metadata, bool), Error> {
    let failed = |error| Error::io("look at", key, error);
    let found = object_metadata(key, &fs::metadata(path).map_err(failed)?)?;
    let holds = match condition {
        Condition::Older(limit) => found.modified <= *limit,
        Condition::Holds(bytes) => {
            found.size == bytes.len() as u64 && fs::read(path).map_err(failed)? == bytes[..]
        }
    };
    Ok((found, holds))
}

/// Removes the folders above a removed file while they are empty. A writer that needs one makes it again.
pub(super) fn remove_empty(path: &Path, prune_root: &Path) {
    for parent in path
        .ancestors()
        .skip(1)
        .take_while(|parent| *parent != prune_root)
    {
        if let Err(error) = fs::remove_dir(parent) {
            if !is_absence(&error) && error.kind() != std::io::ErrorKind::DirectoryNotEmpty {
                tracing::debug!(folder = %parent.display(), %error, "an empty folder stays");
            }
            return;
        }
    }
}
