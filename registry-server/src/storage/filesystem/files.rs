//! The steps of reading, writing and removing whole files, all of them blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::io::Errno;
use uuid::Uuid;

use super::durable::Identity;
use super::file_metadata::{is_absence, object_metadata, remove_quietly};
use super::folder::{Folder, Sync};
use crate::storage::{Durability, Error, Metadata, Mode, StorageKey};

/// The ending of temporary names, ours and distribution 3.1's.
pub(super) const TEMPORARY: &str = ".tmp";

/// How often a write is tried again when its folder is removed meanwhile.
const ATTEMPTS: usize = 100;

/// After this time the system has written a name to the disk by itself; Linux takes half a minute.
const WRITTEN_OUT: Duration = Duration::from_secs(15 * 60);

pub(super) fn get(folder: &Folder, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
    let failed = |error| Error::io("read", key, error);
    let file = File::open(folder.path(key)).map_err(failed)?;
    let Metadata { size, .. } = object_metadata(key, &file.metadata().map_err(failed)?)?;
    if size > limit {
        return Err(Error::TooLarge {
            key: key.clone(),
            size,
            limit,
        });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes.into())
}

/// Writes a file: temporary name, write, sync, rename, sync of the directories. The order matters: a name that survives a
/// loss of power without its content is an empty file, which is how older registries lost links.
pub(super) fn put(
    folder: &Folder,
    key: &StorageKey,
    bytes: &[u8],
    mode: Mode,
    durability: Durability,
) -> Result<(), Error> {
    let path = folder.path(key);
    let mut attempt = 1;
    let written = loop {
        match put_once(folder, &path, bytes, mode, durability) {
            Ok(written) => break written,
            // A removal of the folder removed the temporary file too.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(Error::io("write", key, error)),
        }
    };
    match durability {
        Durability::PowerLoss => sync_ancestors(folder, key, &path, written),
        Durability::Crash => Ok(()),
    }
}

/// Makes the name of an existing object survive a loss of power, unless this process knows that it does, or the object is so
/// old that the system has written it to the disk by itself.
pub(super) fn persist(folder: &Folder, key: &StorageKey) -> Result<(), Error> {
    let path = folder.path(key);
    let found = match fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if is_absence(&error) => return Ok(()),
        Err(error) => return Err(Error::io("look at", key, error)),
    };
    let identity = Identity::in_metadata(&found);
    let written_out = found.modified().is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|age| age >= WRITTEN_OUT)
    });
    if written_out || identity.is_some_and(|identity| folder.durable.knows(&identity)) {
        return Ok(());
    }
    sync_ancestors(folder, key, &path, identity)
}

fn put_once(
    folder: &Folder,
    path: &Path,
    bytes: &[u8],
    mode: Mode,
    durability: Durability,
) -> io::Result<Option<Identity>> {
    let (temporary, mut file) = create_temporary(folder, path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| {
            if durability == Durability::PowerLoss {
                sync(folder, &file)
            } else {
                Ok(())
            }
        })
        .and_then(|()| match mode {
            Mode::Replace => folder.capabilities.rename(&temporary, path),
            Mode::Create => folder.capabilities.rename_to_free(&temporary, path),
        });
    if written.is_err() {
        // No later write uses this file again, whatever failed.
        remove_quietly(&temporary);
    }
    written?;
    Ok(file
        .metadata()
        .ok()
        .and_then(|found| Identity::in_metadata(&found)))
}

/// Creates a temporary file beside `path`, and missing folders above it.
fn create_temporary(folder: &Folder, path: &Path) -> io::Result<(PathBuf, File)> {
    let temporary = temporary_name(path);
    let file = retry_in_folder(folder, path, || {
        OpenOptions::new().write(true).create_new(true).open(&temporary)
    })?;
    Ok((temporary, file))
}

/// A temporary name beside `path`, which no listing shows.
pub(super) fn temporary_name(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}{TEMPORARY}", Uuid::new_v4().hyphenated()));
    temporary.into()
}

/// Runs a call that needs the folder of `path`. Makes the folder when it is missing, and tries again when it is removed
/// meanwhile.
pub(super) fn retry_in_folder<T>(
    folder: &Folder,
    path: &Path,
    mut act: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut attempt = 1;
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {
                attempt += 1;
                if let Some(parent) = path.parent()
                    && let Err(error) = make_folders(&folder.root, parent)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

/// Makes a folder and the folders above it, but never the root. Without the root the store is gone.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root {
        return Err(Errno::STALE.into());
    }
    let make = || match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(folder) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(error),
            // The folder was removed again because it was empty: try again.
            Err(gone) => Err(gone),
        },
        result => result,
    };
    match (make(), folder.parent()) {
        (Err(error), Some(above)) if error.kind() == io::ErrorKind::NotFound => {
            make_folders(root, above)?;
            make()
        }
        (result, _) => result,
    }
}

pub(super) fn sync(folder: &Folder, file: &File) -> io::Result<()> {
    match folder.sync {
        Sync::Always => folder.capabilities.sync_file(file),
        Sync::Never => Ok(()),
    }
}

/// Makes the name of `path` survive a loss of power, with every directory up to the root. Remembers the file under the name,
/// if its identity is given.
pub(super) fn sync_ancestors(
    folder: &Folder,
    key: &StorageKey,
    path: &Path,
    file: Option<Identity>,
) -> Result<(), Error> {
    match (folder.sync, path.parent()) {
        (Sync::Always, Some(parent)) => folder
            .durable
            .sync(&folder.capabilities, parent, &folder.root, file)
            .map_err(|error| Error::io("sync the folders of", key, error)),
        (Sync::Always, None) | (Sync::Never, _) => Ok(()),
    }
}

pub(super) fn delete_tree(folder: &Folder, prefix: &StorageKey, durability: Durability) -> Result<(), Error> {
    let path = folder.path(prefix);
    let mut attempt = 1;
    loop {
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => break,
            Err(error) if is_absence(&error) => return Ok(()),
            // A write into the folder while it was emptied.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempt < ATTEMPTS => {
                attempt += 1
            }
            Err(error) => return Err(Error::io("delete", prefix, error)),
        }
    }
    match durability {
        Durability::PowerLoss => sync_ancestors(folder, prefix, &path, None),
        Durability::Crash => Ok(()),
    }
}
