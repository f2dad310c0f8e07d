//! Removing a file in one step with a look at it.
//!
//! Between a look at a file and its removal somebody may replace it, or refresh it and be told that it is there. So
//! the file is set aside first and looked at then. Whoever refreshes it looks again whether the name is there, after the time is set: then either
//! the name is gone, and so is the file, or the setting aside comes later, sees the time, and puts the file back. What
//! a loss of power leaves aside is a temporary file.

use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::{Shared, files};
use crate::storage::{Condition, Durability, Error, Metadata, StorageKey};

/// Sets the time of a file to now.
pub(super) fn refresh(shared: &Shared, key: &StorageKey) -> Result<(), Error> {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: special(UTIME_OMIT),
        // The store's own clock, which may be another machine's.
        last_modification: special(UTIME_NOW),
    };
    let path = shared.path(key);
    let failed = |error| Error::io("refresh", key, error);
    utimensat(CWD, &path, &times, AtFlags::empty()).map_err(|error| failed(error.into()))?;
    // The kernel looks a name up before it sets the time, so that may have reached a file that was set aside.
    let found = fs::metadata(&path).map_err(failed)?;
    files::object_metadata(key, &found).map(drop)
}

pub(super) fn delete(
    shared: &Shared,
    key: &StorageKey,
    condition: &Condition,
    shelf: &StorageKey,
    durability: Durability,
) -> Result<Option<Metadata>, Error> {
    let failed = |error| Error::io("delete", key, error);
    let path = shared.path(key);
    // Most of what stays is seen without touching it.
    if !holds(&path, key, condition)?.1 {
        return Ok(None);
    }
    let aside = files::temporary_beside(&path);
    fs::rename(&path, &aside).map_err(failed)?;
    let (found, holds) = holds(&aside, key, condition)?;
    if !holds {
        // Not by renaming: what was written under the name meanwhile is as good and younger.
        match fs::hard_link(&aside, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            Ok(()) | Err(_) => files::remove_quietly(&aside),
        }
        return Ok(None);
    }
    fs::remove_file(&aside).map_err(failed)?;
    remove_empty(&path, &shared.path(shelf));
    match durability {
        Durability::PowerLoss => files::sync_ancestors(shared, key, &path)?,
        Durability::Crash => {}
    }
    Ok(Some(found))
}

/// Looks at a file.
fn holds(path: &Path, key: &StorageKey, condition: &Condition) -> Result<(Metadata, bool), Error> {
    let failed = |error| Error::io("look at", key, error);
    let found = files::object_metadata(key, &fs::metadata(path).map_err(failed)?)?;
    let holds = match condition {
        Condition::Older(limit) => found.modified <= *limit,
        Condition::Holds(bytes) => {
            found.size == bytes.len() as u64 && fs::read(path).map_err(failed)? == bytes[..]
        }
    };
    Ok((found, holds))
}

/// Removes the folders above a removed file while they are empty. Whoever is about to write into one makes it again.
fn remove_empty(path: &Path, shelf: &Path) {
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != shelf) {
        if let Err(error) = fs::remove_dir(folder) {
            if !files::is_absence(&error) && error.kind() != std::io::ErrorKind::DirectoryNotEmpty {
                tracing::debug!(folder = %folder.display(), %error, "an empty folder stays");
            }
            return;
        }
    }
}
