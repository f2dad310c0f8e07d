//! The steps of reading, writing and removing whole files, all of them blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::io::Errno;
use uuid::Uuid;

use super::durable::Identity;
use super::{Shared, Sync, aside};
use crate::storage::{Durability, Entry, EntryKind, Error, Metadata, Mode, StorageKey, Swept};

/// The ending of temporary names, ours and distribution 3.1's.
const TEMPORARY: &str = ".tmp";

/// How often a write is begun again when somebody removes its folder under it.
const ATTEMPTS: usize = 100;

/// After this time a system has written out a name by itself; Linux takes half a minute.
const WRITTEN_OUT: Duration = Duration::from_secs(15 * 60);

pub(super) fn object_metadata(key: &StorageKey, metadata: &fs::Metadata) -> Result<Metadata, Error> {
    if !metadata.is_file() {
        return Err(Error::NotFound { key: key.clone() });
    }
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Metadata {
        size: metadata.len(),
        modified,
    })
}

pub(super) fn get(shared: &Shared, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
    let failed = |error| Error::io("read", key, error);
    let file = File::open(shared.path(key)).map_err(failed)?;
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

/// Temporary name, write, sync, rename, sync of the directories: in this order, because a name that survives
/// power loss before its content does is an empty file, which is how old registries lost their links.
pub(super) fn put(
    shared: &Shared,
    key: &StorageKey,
    bytes: &[u8],
    mode: Mode,
    durability: Durability,
) -> Result<(), Error> {
    let path = shared.path(key);
    let mut attempt = 1;
    let written = loop {
        match put_once(shared, &path, bytes, mode, durability) {
            Ok(written) => break written,
            // A deletion of the folder took the temporary file with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(Error::io("write", key, error)),
        }
    };
    match durability {
        Durability::PowerLoss => sync_ancestors(shared, key, &path, written),
        Durability::Crash => Ok(()),
    }
}

/// Makes the name of an object that is there survive a loss of power, unless this process knows that it does, or the
/// object is so old that the system has written it out long ago.
pub(super) fn persist(shared: &Shared, key: &StorageKey) -> Result<(), Error> {
    let path = shared.path(key);
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
    if written_out || identity.is_some_and(|identity| shared.durable.knows(&identity)) {
        return Ok(());
    }
    sync_ancestors(shared, key, &path, identity)
}

fn put_once(
    shared: &Shared,
    path: &Path,
    bytes: &[u8],
    mode: Mode,
    durability: Durability,
) -> io::Result<Option<Identity>> {
    let (temporary, mut file) = create_beside(shared, path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| {
            if durability == Durability::PowerLoss {
                sync(shared, &file)
            } else {
                Ok(())
            }
        })
        .and_then(|()| match mode {
            Mode::Replace => shared.capabilities.rename(&temporary, path),
            Mode::Create => shared.capabilities.rename_to_free(&temporary, path),
        });
    if written.is_err() {
        // Whatever was not written or synced: no later write uses this file again.
        remove_quietly(&temporary);
    }
    written?;
    Ok(file
        .metadata()
        .ok()
        .and_then(|found| Identity::in_metadata(&found)))
}

/// A new temporary file beside `path`, making the folders on the way.
fn create_beside(shared: &Shared, path: &Path) -> io::Result<(PathBuf, File)> {
    let temporary = temporary_beside(path);
    let file = retry_in_folder(shared, path, || {
        OpenOptions::new().write(true).create_new(true).open(&temporary)
    })?;
    Ok((temporary, file))
}

/// A name that no listing shows.
pub(super) fn temporary_beside(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}{TEMPORARY}", Uuid::new_v4().hyphenated()));
    temporary.into()
}

/// Does something that needs the folder of `path`, making it first where it is missing, and again when a
/// deletion took it away in between.
pub(super) fn retry_in_folder<T>(
    shared: &Shared,
    path: &Path,
    mut act: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut attempt = 1;
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {
                attempt += 1;
                if let Some(folder) = path.parent()
                    && let Err(error) = make_folders(&shared.root, folder)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

/// Makes a folder and those above it, but never the root: when that is gone, the store is.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root {
        return Err(Errno::STALE.into());
    }
    let make = || match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(folder) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(error),
            // Removed since, because it was empty: that is tried again.
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

pub(super) fn sync(shared: &Shared, file: &File) -> io::Result<()> {
    match shared.sync {
        Sync::Always => shared.capabilities.sync_file(file),
        Sync::Never => Ok(()),
    }
}

/// Makes the name of `path` survive a loss of power, with every directory up to the root. Remembers the file that has
/// this name now, if it is known which.
pub(super) fn sync_ancestors(
    shared: &Shared,
    key: &StorageKey,
    path: &Path,
    file: Option<Identity>,
) -> Result<(), Error> {
    match (shared.sync, path.parent()) {
        (Sync::Always, Some(folder)) => shared
            .durable
            .sync(&shared.capabilities, folder, &shared.root, file)
            .map_err(|error| Error::io("sync the folders of", key, error)),
        (Sync::Always, None) | (Sync::Never, _) => Ok(()),
    }
}

pub(super) fn delete_tree(shared: &Shared, prefix: &StorageKey, durability: Durability) -> Result<(), Error> {
    let path = shared.path(prefix);
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
            // Somebody wrote into a folder that was being emptied.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempt < ATTEMPTS => {
                attempt += 1
            }
            Err(error) => return Err(Error::io("delete", prefix, error)),
        }
    }
    match durability {
        Durability::PowerLoss => sync_ancestors(shared, prefix, &path, None),
        Durability::Crash => Ok(()),
    }
}

pub(super) fn list(shared: &Shared, prefix: &StorageKey) -> Result<Vec<Entry>, Error> {
    let failed = |error| Error::io("list", prefix, error);
    let entries = match fs::read_dir(shared.path(prefix)) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => {
            shared.is_there("list", prefix)?;
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // Names that are no text were not written by any registry.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_dir() => EntryKind::Prefix,
            Ok(kind) if kind.is_file() => EntryKind::Object,
            // People do link folders of repositories elsewhere; the link counts as what it leads to.
            Ok(_) => match fs::metadata(entry.path()) {
                Ok(target) if target.is_dir() => EntryKind::Prefix,
                Ok(target) if target.is_file() => EntryKind::Object,
                Ok(_) | Err(_) => continue,
            },
            Err(error) if is_absence(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        if kind == EntryKind::Object {
            if name.ends_with(TEMPORARY) {
                continue;
            }
            if let Some(was) = aside::original(&name) {
                if aside::restore(shared, &entry.path(), &entry.path().with_file_name(was)) {
                    found.push(Entry {
                        name: was.to_owned(),
                        kind,
                    });
                }
                continue;
            }
        }
        found.push(Entry { name, kind });
    }
    Ok(found)
}

/// Removes temporary files older than `age`, and puts back what a killed removal had set aside. What cannot be looked at
/// or removed is left for the next time: a sweep is housekeeping and must not fail a start.
pub(super) fn sweep(shared: &Shared, age: Duration) -> Swept {
    let mut swept = Swept::default();
    let mut folders = vec![shared.root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "sweep skipped a folder");
                continue;
            }
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && is_temporary(&entry.file_name()) => {
                    let Ok(metadata) = entry.metadata() else { continue };
                    let old = metadata.modified().is_ok_and(|modified| {
                        SystemTime::now()
                            .duration_since(modified)
                            .is_ok_and(|elapsed| elapsed >= age)
                    });
                    if old && fs::remove_file(entry.path()).is_ok() {
                        swept.objects += 1;
                        swept.bytes += metadata.len();
                    }
                }
                Ok(kind) if kind.is_file() => {
                    if let Some(was) = entry.file_name().to_str().and_then(aside::original) {
                        aside::restore(shared, &entry.path(), &entry.path().with_file_name(was));
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    swept
}

/// `<anything>.<uuid>.tmp`, the form both servers use: nothing else is ever deleted unasked.
fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_suffix(TEMPORARY))
        .and_then(|name| name.rsplit_once('.'))
        .is_some_and(|(_, id)| Uuid::try_parse(id).is_ok())
}

pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && !is_absence(&error)
    {
        tracing::warn!(path = %path.display(), %error, "a temporary file is left behind; the next sweep takes it");
    }
}
