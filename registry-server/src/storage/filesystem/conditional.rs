//! Removing a file in one step with a look at it.
//!
//! Between a look at a file and its removal somebody may replace it, or refresh it and be told that it is there. So
//! the file is set aside first and looked at then. A refresh looks again whether the name is there, after the time is
//! set: then either the name is gone, and so is the file, or the setting aside comes later, sees the time, and puts the
//! file back. A removal that is cut off leaves the file aside, from where it comes back by itself: see `aside`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::{Shared, aside, files};
use crate::storage::{Condition, Durability, Error, Metadata, StorageKey};

/// How long a removal waits for another one of the same object, and how often it looks.
const WAIT_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// Sets the time of a file to now.
pub(super) fn touch(shared: &Shared, key: &StorageKey) -> Result<(), Error> {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: special(UTIME_OMIT),
        // The store's own clock, which may be another machine's.
        last_modification: special(UTIME_NOW),
    };
    let path = shared.path(key);
    let failed = |error| Error::io("touch", key, error);
    utimensat(CWD, &path, &times, AtFlags::empty()).map_err(|error| failed(error.into()))?;
    // The kernel looks a name up before it sets the time, so that may have reached a file that was set aside.
    let found = fs::metadata(&path).map_err(failed)?;
    files::object_metadata(key, &found).map(drop)
}

pub(super) fn delete(
    shared: &Shared,
    key: &StorageKey,
    condition: &Condition,
    prune_root: &StorageKey,
    durability: Durability,
) -> Result<Option<Metadata>, Error> {
    let path = shared.path(key);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match delete_once(shared, key, &path, condition) {
            Ok(Attempt::Stays) => return Ok(None),
            Ok(Attempt::Removed(found)) => {
                remove_empty(&path, &shared.path(prune_root));
                match durability {
                    Durability::PowerLoss => files::sync_ancestors(shared, key, &path, None)?,
                    Durability::Crash => {}
                }
                return Ok(Some(found));
            }
            Ok(Attempt::Again) if Instant::now() < deadline => {}
            Ok(Attempt::Again) => return Err(Error::Busy { key: key.clone() }),
            // Another removal of it is under way, or its publishing. This thread may block.
            Err(Error::Busy { .. }) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(error) => return Err(error),
        }
    }
}

enum Attempt {
    Removed(Metadata),
    Stays,
    /// Somebody replaced the file meanwhile.
    Again,
}

fn delete_once(
    shared: &Shared,
    key: &StorageKey,
    path: &Path,
    condition: &Condition,
) -> Result<Attempt, Error> {
    let failed = |error| Error::io("delete", key, error);
    // Most of what stays is seen without touching it.
    if !aside::or_restored(shared, key, || holds(path, key, condition))?.1 {
        return Ok(Attempt::Stays);
    }
    aside::clear(shared, path);
    // Held until this returns: whoever meets the file aside and unlocked puts it back.
    let held = aside::hold(shared, key, path)?;
    let aside = aside::name(path);
    fs::rename(path, &aside).map_err(failed)?;
    if let Some(held) = &held
        && !is_same(held, &aside).map_err(failed)?
    {
        aside::put_back(shared, &aside, path).map_err(failed)?;
        return Ok(Attempt::Again);
    }
    let (found, holds) = holds(&aside, key, condition)?;
    if holds {
        shared.capabilities.remove(&aside).map_err(failed)?;
        return Ok(Attempt::Removed(found));
    }
    // Never over what was written under the name meanwhile, which is as good and younger.
    aside::put_back(shared, &aside, path).map_err(failed)?;
    Ok(Attempt::Stays)
}

/// Whether an open file is the one at a path.
fn is_same(file: &fs::File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (ours, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino()))
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
pub(super) fn remove_empty(path: &Path, prune_root: &Path) {
    for folder in path
        .ancestors()
        .skip(1)
        .take_while(|folder| *folder != prune_root)
    {
        if let Err(error) = fs::remove_dir(folder) {
            if !files::is_absence(&error) && error.kind() != std::io::ErrorKind::DirectoryNotEmpty {
                tracing::debug!(folder = %folder.display(), %error, "an empty folder stays");
            }
            return;
        }
    }
}
