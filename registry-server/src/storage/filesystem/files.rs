//! The steps of reading, writing and removing whole files, all of them blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::{Shared, Sync};
use crate::storage::{Durability, Entry, EntryKind, Error, Metadata, Mode, StorageKey, Swept};

/// The ending of temporary names, ours and distribution 3.1's.
const TEMPORARY: &str = ".tmp";

/// How often a write is begun again when somebody removes its folder under it.
const ATTEMPTS: usize = 100;

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
    loop {
        match put_once(shared, &path, bytes, mode, durability) {
            Ok(()) => break,
            // A deletion of the folder took the temporary file with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(Error::io("write", key, error)),
        }
    }
    match durability {
        Durability::PowerLoss => sync_ancestors(shared, key, &path),
        Durability::Crash => Ok(()),
    }
}

fn put_once(
    shared: &Shared,
    path: &Path,
    bytes: &[u8],
    mode: Mode,
    durability: Durability,
) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| {
            if durability == Durability::PowerLoss {
                sync(shared, &file)
            } else {
                Ok(())
            }
        })
        .and_then(|()| rename(&temporary, path, mode));
    if written.is_err() {
        remove_quietly(&temporary);
    }
    written
}

fn rename(from: &Path, to: &Path, mode: Mode) -> io::Result<()> {
    match mode {
        Mode::Replace => fs::rename(from, to),
        // A hard link fails when the name is taken, on every file system that has links; the flag of renameat2
        // that would do the same is unknown to some network file systems.
        Mode::Create => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
    }
}

/// A new temporary file beside `path`, making the folders on the way.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let temporary = temporary_beside(path);
    let file = retry_in_folder(path, || {
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
pub(super) fn retry_in_folder<T>(path: &Path, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut attempt = 1;
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {
                attempt += 1;
                if let Some(folder) = path.parent()
                    && let Err(error) = fs::create_dir_all(folder)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

pub(super) fn sync(shared: &Shared, file: &File) -> io::Result<()> {
    match shared.sync {
        Sync::Always => file.sync_all(),
        Sync::Never => Ok(()),
    }
}

/// Makes the name of `path` survive a loss of power, with every directory up to the root.
pub(super) fn sync_ancestors(shared: &Shared, key: &StorageKey, path: &Path) -> Result<(), Error> {
    match (shared.sync, path.parent()) {
        (Sync::Always, Some(folder)) => shared
            .durable
            .sync(folder, &shared.root)
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
        Durability::PowerLoss => sync_ancestors(shared, prefix, &path),
        Durability::Crash => Ok(()),
    }
}

pub(super) fn list(shared: &Shared, prefix: &StorageKey) -> Result<Vec<Entry>, Error> {
    let failed = |error| Error::io("list", prefix, error);
    let entries = match fs::read_dir(shared.path(prefix)) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
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
        if kind == EntryKind::Object && name.ends_with(TEMPORARY) {
            continue;
        }
        found.push(Entry { name, kind });
    }
    Ok(found)
}

/// Removes temporary files older than `age` below `folder`. What cannot be looked at or removed is left for the
/// next time: a sweep is housekeeping and must not fail a start.
pub(super) fn sweep(folder: &Path, age: Duration) -> Swept {
    let mut swept = Swept::default();
    let mut folders = vec![folder.to_owned()];
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
