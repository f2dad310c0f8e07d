//! The driver for a folder: distribution's `filesystem`.
//!
//! Guarantees beyond [`Driver`]'s:
//! - A file is written under a temporary name, synced and renamed. Then every directory up to the root is synced that is not
//!   known to be, so that an acknowledged name survives a loss of power, whichever process created its directories.
//! - Several processes may share the folder. Exclusive locks on staged files keep two writers apart, as far as the locks of
//!   the file system reach.
//! - No file is closed on an async thread.
//! - When the folder that was there at the start is gone, every call fails and nothing is written.
//! - Directories are made with mode 0777 and files with 0666 before the umask, as distribution makes them.
//!
//! Temporary files are named `<name>.<uuid>.tmp` beside their target, as those of distribution 3.1. No listing shows them,
//! and [`Driver::sweep`] removes old ones.
//! Must not: follow a path out of the root (keys cannot), or make file calls on an async thread, except a read that fails
//! rather than waits for the disk.
//! Start at [`Filesystem::new`]; the steps of a write are in `files`, what a file system may lack in `capabilities`.

mod capabilities;
mod conditional;
mod durable;
mod file_metadata;
mod files;
mod folder;
mod handle;
mod listing;
mod pending_removal;
mod prune;
mod reader;
mod root_identity;
pub(crate) mod system_calls;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustix::fs::statvfs;
use tokio::sync::Semaphore;

use capabilities::Capabilities;
use folder::Folder;
pub use folder::Sync;
use root_identity::RootIdentity;
use system_calls::{System, SystemCalls};

use super::{
    Append, Condition, Content, Driver, Durability, Error, LargeWrite, Listing, Metadata, Mode, ReadRange,
    Reclaim, Space, Staged, StorageKey, StoreHealth, Swept, Writer,
};

/// How a [`Filesystem`] behaves.
#[derive(Debug, Clone)]
pub struct FilesystemOptions {
    /// How many file calls run at once (`storage.filesystem.maxthreads`).
    pub max_threads: usize,
    /// Whether writes are synced.
    pub sync: Sync,
    /// The health that the driver reports to.
    pub store_health: StoreHealth,
}

impl Default for FilesystemOptions {
    fn default() -> Self {
        Self {
            max_threads: 100,
            sync: Sync::Always,
            store_health: StoreHealth::default(),
        }
    }
}

/// A store in a folder.
#[derive(Debug, Clone)]
pub struct Filesystem {
    folder: Arc<Folder>,
}

impl Filesystem {
    /// A store in the folder `root` (`storage.filesystem.rootdirectory`), which is made when it is missing.
    ///
    /// This call blocks; it is meant for the start of the program.
    ///
    /// # Errors
    /// The operating system's, when the folder cannot be made or is no folder.
    pub fn new(root: impl Into<PathBuf>, options: &FilesystemOptions) -> io::Result<Self> {
        Self::with_calls(root, options, Arc::new(System))
    }

    /// The same with other system calls, for tests.
    pub(crate) fn with_calls(
        root: impl Into<PathBuf>,
        options: &FilesystemOptions,
        calls: Arc<dyn SystemCalls>,
    ) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        let root = fs::canonicalize(root)?;
        let name = format!("filesystem {}", root.display());
        if options.sync == Sync::Always {
            durable::sync_above(&root);
        }
        let threads = Arc::new(Semaphore::new(options.max_threads.max(1)));
        Ok(Self {
            folder: Arc::new(Folder {
                identity: RootIdentity::new(&root)?,
                capabilities: Capabilities::new(&name, calls),
                name,
                root,
                sync: options.sync,
                durable: durable::Durable::default(),
                lost: Mutex::default(),
                threads,
                store_health: options.store_health.clone(),
            }),
        })
    }

    /// Driver and folder, for log lines.
    pub fn name_in_full(&self) -> &str {
        &self.folder.name
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.folder.root
    }
}

#[async_trait]
impl Driver for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        const ACTION: &str = "stat";
        self.folder
            .run(ACTION, key, |folder, key| {
                pending_removal::or_restored(folder, key, || {
                    let metadata =
                        fs::metadata(folder.path(key)).map_err(|error| Error::io(ACTION, key, error))?;
                    file_metadata::object_metadata(key, &metadata)
                })
            })
            .await
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
        self.folder
            .run("read", key, move |folder, key| {
                pending_removal::or_restored(folder, key, || files::get(folder, key, limit))
            })
            .await
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
        self.folder
            .run("read", key, move |folder, key| {
                pending_removal::or_restored(folder, key, || reader::open(&folder.path(key), key, range))
            })
            .await
    }

    async fn put(
        &self,
        key: &StorageKey,
        bytes: Bytes,
        mode: Mode,
        durability: Durability,
    ) -> Result<(), Error> {
        self.folder
            .run("write", key, move |folder, key| {
                files::put(folder, key, &bytes, mode, durability).inspect(|()| folder.wrote(&bytes))
            })
            .await
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), Error> {
        const ACTION: &str = "delete";
        self.folder
            .run(ACTION, key, |folder, key| {
                let path = folder.path(key);
                pending_removal::clear(folder, &path);
                match fs::remove_file(&path) {
                    // A folder is no object; each system has another error for unlinking one.
                    Err(error) if path.is_dir() => {
                        tracing::debug!(%key, %error, "a folder was asked to be deleted as an object");
                        Err(Error::NotFound { key: key.clone() })
                    }
                    result => result.map_err(|error| Error::io(ACTION, key, error)),
                }?;
                files::sync_ancestors(folder, key, &path, None)
            })
            .await
    }

    async fn persist(&self, keys: &[StorageKey]) -> Result<(), Error> {
        let Some(first) = keys.first() else {
            return Ok(());
        };
        let keys = keys.to_vec();
        self.folder
            .run("sync", first, move |folder, _| {
                keys.iter().try_for_each(|key| files::persist(folder, key))
            })
            .await
    }

    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), Error> {
        self.folder
            .run("delete", prefix, move |folder, prefix| {
                files::delete_tree(folder, prefix, durability)
            })
            .await
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error> {
        let entries = self.folder.run("list", prefix, listing::list).await?;
        Ok(stream::iter(entries).map(Ok).boxed())
    }

    async fn space(&self) -> Result<Option<Space>, Error> {
        const ACTION: &str = "stat";
        let root = StorageKey::parse("docker")?;
        self.folder
            .run(ACTION, &root, |folder, key| {
                let found = statvfs(&folder.root).map_err(|error| Error::io(ACTION, key, error.into()))?;
                let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                // Without what only root may write, as `df` shows it.
                let used = found.f_blocks.saturating_sub(found.f_bfree);
                Ok(Some(Space {
                    capacity: bytes(used.saturating_add(found.f_bavail)),
                    available: bytes(found.f_bavail),
                }))
            })
            .await
    }

    fn large_write(&self) -> LargeWrite<'_> {
        LargeWrite::Append(self)
    }

    async fn redirect(&self, _key: &StorageKey) -> Result<Option<String>, Error> {
        Ok(None) // A folder has no URL a client could use.
    }

    async fn sweep(&self, age: Duration) -> Result<Swept, Error> {
        let root = StorageKey::parse("docker")?;
        self.folder
            .run("sweep", &root, move |folder, _| Ok(listing::sweep(folder, age)))
            .await
    }
}

#[async_trait]
impl Reclaim for Filesystem {
    async fn touch(&self, key: &StorageKey) -> Result<(), Error> {
        self.folder
            .run("touch", key, |folder, key| {
                pending_removal::or_restored(folder, key, || conditional::touch(folder, key))
            })
            .await
    }

    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        prune_root: &StorageKey,
        durability: Durability,
    ) -> Result<Option<Metadata>, Error> {
        let (condition, prune_root) = (condition.clone(), prune_root.clone());
        self.folder
            .run("delete", key, move |folder, key| {
                conditional::delete(folder, key, &condition, &prune_root, durability)
            })
            .await
    }

    async fn prune(&self, prefix: &StorageKey, prune_root: &StorageKey) -> Result<bool, Error> {
        let prune_root = prune_root.clone();
        self.folder
            .run("prune", prefix, move |folder, prefix| {
                prune::prune(folder, prefix, &prune_root)
            })
            .await
    }

    fn keeps_empty_prefixes(&self) -> bool {
        true
    }

    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.stat(key).await
    }
}

#[async_trait]
impl Append for Filesystem {
    async fn stage(&self, key: &StorageKey, staged: Staged) -> Result<Box<dyn Writer>, Error> {
        self.folder
            .run("open", key, move |folder, key| writer::open(folder, key, staged))
            .await
            .map(|opened| {
                Box::new(writer::StagedFile::new(Arc::clone(&self.folder), opened)) as Box<dyn Writer>
            })
    }

    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error> {
        let target = target.clone();
        self.folder
            .run("publish", staged, move |folder, staged| {
                writer::publish(folder, staged, &target, size)
            })
            .await
    }
}
