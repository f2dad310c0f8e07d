//! Staged files: appended to under a lock, then renamed into place.
//!
//! Linux reports only once that bytes could not be written to the disk; the next sync of the same file succeeds. So a staged
//! file whose sync failed is given up at once and for every process: it loses its name, and no later request finds it.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::durable::Identity;
use super::file_metadata::is_absence;
use super::files;
use super::folder::Folder;
use super::handle::Handle;
use crate::storage::{Error, Staged, StorageKey, Writer};

/// An opened, locked staged file.
pub(super) struct Opened {
    key: StorageKey,
    file: Handle,
    size: u64,
}

/// Opens and locks a staged file.
pub(super) fn open(folder: &Folder, key: &StorageKey, staged: Staged) -> Result<Opened, Error> {
    let failed = |error| Error::io("open", key, error);
    let path = folder.path(key);
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = match staged {
        Staged::New => {
            options.create_new(true);
            files::retry_in_folder(folder, &path, || options.open(&path)).map_err(failed)?
        }
        Staged::At(_) | Staged::AtEnd => options.open(&path).map_err(failed)?,
    };
    let file = Handle::locked(&folder.capabilities, key, file, &path)?;
    if folder.is_lost(&file) {
        // The file could not be removed when its sync failed.
        give_up(folder, key, &file, &path);
        return Err(Error::NotFound { key: key.clone() });
    }
    let size = file.metadata().map_err(failed)?.len();
    match staged {
        Staged::At(expected) if expected != size => Err(Error::OffsetMismatch {
            key: key.clone(),
            expected,
            actual: size,
        }),
        Staged::New | Staged::At(_) | Staged::AtEnd => Ok(Opened {
            key: key.clone(),
            file,
            size,
        }),
    }
}

/// Makes the bytes of a staged file survive power loss, or gives the file up.
fn sync(folder: &Folder, key: &StorageKey, file: &Handle) -> Result<(), Error> {
    files::sync(folder, file).map_err(|source| {
        give_up(folder, key, file, &folder.path(key));
        let key = key.clone();
        Error::Lost { key, source }
    })
}

/// Removes the name of a staged file while its lock is held. If that fails, this process remembers the file.
fn give_up(folder: &Folder, key: &StorageKey, file: &Handle, path: &Path) {
    let removed = folder
        .capabilities
        .remove(path)
        .or_else(|_| folder.capabilities.rename(path, &files::temporary_name(path)));
    let failed = removed.err().filter(|error| !is_absence(error));
    folder.remember_lost(file, failed.is_some());
    if let Some(error) = failed {
        tracing::error!(
            %key,
            %error,
            "an upload whose bytes were lost cannot be removed: no other server may go on with it"
        );
    }
}

/// Renames a staged file to its final name. An existing file is replaced: it may be truncated, and a replacement costs no more
/// than a check.
pub(super) fn publish(
    folder: &Folder,
    staged: &StorageKey,
    target: &StorageKey,
    size: u64,
) -> Result<(), Error> {
    let Opened { file, .. } = open(folder, staged, Staged::At(size))?;
    sync(folder, staged, &file)?;
    let (from, to) = (folder.path(staged), folder.path(target));
    files::retry_in_folder(folder, &to, || folder.capabilities.rename(&from, &to))
        .map_err(|error| Error::io("publish", target, error))?;
    let identity = file
        .metadata()
        .ok()
        .and_then(|found| Identity::in_metadata(&found));
    // The lock is still held: a writer that waits for it finds the name gone.
    files::sync_ancestors(folder, target, &to, identity)
}

/// A staged file as a [`Writer`].
pub(super) struct StagedFile {
    folder: Arc<Folder>,
    key: StorageKey,
    file: Arc<Handle>,
    size: u64,
}

impl StagedFile {
    pub(super) fn new(folder: Arc<Folder>, opened: Opened) -> Self {
        let Opened { key, file, size } = opened;
        Self {
            folder,
            key,
            file: Arc::new(file),
            size,
        }
    }
}

#[async_trait]
impl Writer for StagedFile {
    fn size(&self) -> u64 {
        self.size
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let (file, offset, length) = (Arc::clone(&self.file), self.size, bytes.len() as u64);
        self.folder
            .run("append to", &self.key, move |folder, key| {
                file.write_all_at(&bytes, offset)
                    .map(|()| folder.wrote(&bytes))
                    .map_err(|error| Error::io("append to", key, error))
            })
            .await?;
        self.size += length;
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        self.folder
            .run("sync", &self.key, move |folder, key| sync(folder, key, &file))
            .await
    }
}
