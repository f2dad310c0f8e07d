//! Listing the names in a folder, and sweeping the remains of interrupted writes.

use std::fs;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::file_metadata::is_absence;
use super::files::TEMPORARY;
use super::folder::Folder;
use super::pending_removal;
use crate::storage::{Entry, EntryKind, Error, StorageKey, Swept};

pub(super) fn list(folder: &Folder, prefix: &StorageKey) -> Result<Vec<Entry>, Error> {
    let failed = |error| Error::io("list", prefix, error);
    let entries = match fs::read_dir(folder.path(prefix)) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => {
            folder.is_there("list", prefix)?;
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // No registry writes names that are no UTF-8.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_dir() => EntryKind::Prefix,
            Ok(kind) if kind.is_file() => EntryKind::Object,
            // Some people link the folders of repositories to other places. A link counts as its target.
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
            if let Some(was) = pending_removal::original(&name) {
                if pending_removal::restore(folder, &entry.path(), &entry.path().with_file_name(was)) {
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

/// Removes temporary files older than `age`, and puts back files whose removal was killed. A file that cannot be read or
/// removed is left for the next sweep: a sweep must not make a start fail.
pub(super) fn sweep(store: &Folder, age: Duration) -> Swept {
    let mut swept = Swept::default();
    let mut folders = vec![store.root.clone()];
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
                    if let Some(was) = entry.file_name().to_str().and_then(pending_removal::original) {
                        pending_removal::restore(store, &entry.path(), &entry.path().with_file_name(was));
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    swept
}

/// Whether a name is `<anything>.<uuid>.tmp`, the form of both servers. No other file is ever removed by a sweep.
fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_suffix(TEMPORARY))
        .and_then(|name| name.rsplit_once('.'))
        .is_some_and(|(_, id)| Uuid::try_parse(id).is_ok())
}
