//! Staged files: appended to under a lock, then renamed into place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Filesystem, Shared, files};
use crate::storage::{Error, Staged, StorageKey, Writer};

/// An opened, locked staged file.
pub(super) struct Opened {
    key: StorageKey,
    file: File,
    size: u64,
}

/// Opens and locks.
pub(super) fn open(shared: &Shared, key: &StorageKey, staged: Staged) -> Result<Opened, Error> {
    let failed = |error| Error::io("open", key, error);
    let path = shared.path(key);
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = match staged {
        Staged::New => {
            options.create_new(true);
            files::retry_in_folder(&path, || options.open(&path)).map_err(failed)?
        }
        Staged::At(_) | Staged::AtEnd => options.open(&path).map_err(failed)?,
    };
    lock(key, &file, &path)?;
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

/// Takes the lock that keeps a second writer out. The kernel drops it with the file, and so with the process.
///
/// The name is looked at again once the lock is held: a file that was renamed into place between the opening and
/// the locking is a blob now, and must never be written to.
fn lock(key: &StorageKey, file: &File, path: &Path) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Busy { key: key.clone() }),
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", key, error)),
    }
    let ours = file.metadata().map_err(|error| Error::io("lock", key, error))?;
    let named = fs::metadata(path).map_err(|error| Error::io("lock", key, error))?;
    if (ours.dev(), ours.ino()) == (named.dev(), named.ino()) {
        Ok(())
    } else {
        Err(Error::Busy { key: key.clone() })
    }
}

/// Renames a staged file into place, whatever is there: an existing blob may be torn, and a fresh copy costs no
/// more than looking.
pub(super) fn publish(
    shared: &Shared,
    staged: &StorageKey,
    target: &StorageKey,
    size: u64,
) -> Result<(), Error> {
    let Opened { file, .. } = open(shared, staged, Staged::At(size))?;
    files::sync(shared, &file).map_err(|error| Error::io("sync", staged, error))?;
    let (from, to) = (shared.path(staged), shared.path(target));
    files::retry_in_folder(&to, || fs::rename(&from, &to))
        .map_err(|error| Error::io("publish", target, error))?;
    // The lock is still held: whoever waits for it finds the name gone.
    files::sync_ancestors(shared, target, &to)
}

/// A staged file as a [`Writer`].
pub(super) struct StagedFile {
    filesystem: Filesystem,
    key: StorageKey,
    file: Arc<File>,
    size: u64,
}

impl StagedFile {
    pub(super) fn new(filesystem: Filesystem, opened: Opened) -> Self {
        let Opened { key, file, size } = opened;
        Self {
            filesystem,
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
        self.filesystem
            .run("append to", &self.key, move |shared, key| {
                file.write_all_at(&bytes, offset)
                    .map(|()| shared.wrote(&bytes))
                    .map_err(|error| Error::io("append to", key, error))
            })
            .await?;
        self.size += length;
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        self.filesystem
            .run("sync", &self.key, move |shared, key| {
                files::sync(shared, &file).map_err(|error| Error::io("sync", key, error))
            })
            .await
    }
}
