//! Staged files: appended to under a lock, then renamed into place.
//!
//! Linux tells once that bytes could not be written to the disk, and then takes them for written: the next sync of the
//! same file succeeds. So a staged file whose sync failed is given up at once, for every process and for good: it loses
//! its name, and whoever goes on with it finds nothing.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::durable::Identity;
use super::handle::Handle;
use super::{Filesystem, Shared, files};
use crate::storage::{Error, Staged, StorageKey, Writer};

/// An opened, locked staged file.
pub(super) struct Opened {
    key: StorageKey,
    file: Handle,
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
            files::retry_in_folder(shared, &path, || options.open(&path)).map_err(failed)?
        }
        Staged::At(_) | Staged::AtEnd => options.open(&path).map_err(failed)?,
    };
    let file = Handle::locked(&shared.capabilities, key, file, &path)?;
    if shared.is_lost(&file) {
        // It could not be removed when its sync failed.
        give_up(shared, key, &file, &path);
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
fn sync(shared: &Shared, key: &StorageKey, file: &Handle) -> Result<(), Error> {
    files::sync(shared, file).map_err(|source| {
        give_up(shared, key, file, &shared.path(key));
        let key = key.clone();
        Error::Lost { key, source }
    })
}

/// Takes a staged file its name, while its lock is held. Where that cannot be done this process remembers the file.
fn give_up(shared: &Shared, key: &StorageKey, file: &Handle, path: &Path) {
    let removed = shared
        .capabilities
        .remove(path)
        .or_else(|_| shared.capabilities.rename(path, &files::temporary_beside(path)));
    let failed = removed.err().filter(|error| !files::is_absence(error));
    shared.remember_lost(file, failed.is_some());
    if let Some(error) = failed {
        tracing::error!(
            %key,
            %error,
            "an upload whose bytes were lost cannot be removed: no other server may go on with it"
        );
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
    sync(shared, staged, &file)?;
    let (from, to) = (shared.path(staged), shared.path(target));
    files::retry_in_folder(shared, &to, || shared.capabilities.rename(&from, &to))
        .map_err(|error| Error::io("publish", target, error))?;
    let identity = file
        .metadata()
        .ok()
        .and_then(|found| Identity::in_metadata(&found));
    // The lock is still held: whoever waits for it finds the name gone.
    files::sync_ancestors(shared, target, &to, identity)
}

/// A staged file as a [`Writer`].
pub(super) struct StagedFile {
    filesystem: Filesystem,
    key: StorageKey,
    file: Arc<Handle>,
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
            .run("sync", &self.key, move |shared, key| sync(shared, key, &file))
            .await
    }
}
