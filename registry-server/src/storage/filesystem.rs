//! The driver for a folder: distribution's `filesystem`.
//!
//! Guarantees beyond [`Driver`]'s: every file is written under a temporary name, synced, renamed, and then every
//! directory up to the root that is not known to be is synced, so that an acknowledged name survives power loss whoever created its
//! directories; several processes may share the folder, and exclusive locks on staged files keep two writers
//! apart wherever the file system's locks reach; no file is closed on an async thread; when the folder that was there at
//! the start is gone, every call says so and nothing is written; directories are made with mode 0777 and files with 0666 before
//! the umask, as distribution makes them.
//! Temporary files are named `<name>.<uuid>.tmp` beside their target, where distribution 3.1 leaves its own; no
//! listing shows them and [`Driver::sweep`] removes old ones.
//! Must not: follow a path out of the root (keys cannot), or do file calls on an async thread, but for a read that the
//! system refuses rather than waits for.
//! Start at [`Filesystem::new`]; the steps of a write are in `files`, what a file system may lack in `capabilities`.

mod aside;
pub(crate) mod calls;
mod capabilities;
mod conditional;
mod durable;
mod files;
mod handle;
mod presence;
mod prune;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use calls::{Calls, System};
use capabilities::Capabilities;

use super::{
    Append, Condition, Content, Driver, Durability, Error, LargeWrite, Listing, Metadata, Mode, ReadRange,
    Reclaim, Staged, StorageKey, StoreHealth, Swept, Writer,
};
use crate::task::join;

/// Whether writes are synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// As the driver promises.
    Always,
    /// Never: an acknowledged write survives a crash of the process but not a loss of power. For stores that
    /// are thrown away, such as those of tests.
    Never,
}

/// How a [`Filesystem`] behaves.
#[derive(Debug, Clone)]
pub struct FilesystemOptions {
    /// How many file calls run at once (`storage.filesystem.maxthreads`).
    pub max_threads: usize,
    /// Whether writes are synced.
    pub sync: Sync,
    /// Where it is noted when the folder takes no writes.
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
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// For people.
    name: String,
    root: PathBuf,
    presence: presence::Presence,
    capabilities: Capabilities,
    sync: Sync,
    durable: durable::Durable,
    /// Files whose bytes were lost and whose names could not be removed: device and number.
    lost: Mutex<HashSet<(u64, u64)>>,
    threads: Arc<Semaphore>,
    store_health: StoreHealth,
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

    /// The same by system calls that may be others than the system's.
    pub(crate) fn with_calls(
        root: impl Into<PathBuf>,
        options: &FilesystemOptions,
        calls: Arc<dyn Calls>,
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
            shared: Arc::new(Shared {
                presence: presence::Presence::new(&root)?,
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

    /// Driver and folder, for people.
    pub fn name_in_full(&self) -> &str {
        &self.shared.name
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Runs a piece of work with file calls on a thread that may block. Once begun it runs to its end, even when
    /// the future is dropped.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &StorageKey,
        work: impl FnOnce(&Shared, &StorageKey) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let stopping = || Error::Stopping {
            action,
            key: key.clone(),
        };
        let permit = Arc::clone(&self.shared.threads)
            .acquire_owned()
            .await
            .map_err(|_| stopping())?;
        let (shared, owned_key) = (Arc::clone(&self.shared), key.clone());
        let task = handle::blocking(move || {
            let _permit = permit;
            let done = shared.is_there(action, &owned_key).and_then(|()| {
                // What is missing, or fails, may have gone with the whole folder.
                work(&shared, &owned_key)
                    .map_err(|error| shared.is_there(action, &owned_key).err().unwrap_or(error))
            });
            if let Err(error) = &done {
                shared.store_health.note_failure(&shared.name, error);
            }
            done
        });
        join(task).await.unwrap_or_else(|| Err(stopping()))
    }
}

impl Shared {
    fn path(&self, key: &StorageKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// The key of a path below the root.
    fn key(&self, path: &Path) -> Option<StorageKey> {
        let below = path.strip_prefix(&self.root).ok()?.to_str()?;
        StorageKey::parse(below).ok()
    }

    /// Whether the folder that was there at the start is there.
    fn is_there(&self, action: &'static str, key: &StorageKey) -> Result<(), Error> {
        self.presence
            .check(&self.root)
            .map_err(|error| presence::error(action, key, error))?;
        self.store_health.note_present(&self.name);
        Ok(())
    }

    fn is_lost(&self, file: &fs::File) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        !lost.is_empty() && presence::identity(file).is_ok_and(|identity| lost.contains(&identity))
    }

    /// Notes whether a file whose bytes were lost still has a name. Numbers are given again to other files.
    fn remember_lost(&self, file: &fs::File, has_name: bool) {
        if let Ok(identity) = presence::identity(file) {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            match has_name {
                true => lost.insert(identity),
                false => lost.remove(&identity),
            };
        }
    }

    /// Notes that bytes could be written.
    fn wrote(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.store_health.note_write(&self.name);
        }
    }
}

#[async_trait]
impl Driver for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        const ACTION: &str = "stat";
        self.run(ACTION, key, |shared, key| {
            aside::or_restored(shared, key, || {
                let metadata =
                    fs::metadata(shared.path(key)).map_err(|error| Error::io(ACTION, key, error))?;
                files::object_metadata(key, &metadata)
            })
        })
        .await
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
        self.run("read", key, move |shared, key| {
            aside::or_restored(shared, key, || files::get(shared, key, limit))
        })
        .await
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
        self.run("read", key, move |shared, key| {
            aside::or_restored(shared, key, || reader::open(&shared.path(key), key, range))
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
        self.run("write", key, move |shared, key| {
            files::put(shared, key, &bytes, mode, durability).inspect(|()| shared.wrote(&bytes))
        })
        .await
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), Error> {
        const ACTION: &str = "delete";
        self.run(ACTION, key, |shared, key| {
            let path = shared.path(key);
            aside::clear(shared, &path);
            match fs::remove_file(&path) {
                // A folder is no object: unlinking one says so differently on each system.
                Err(error) if path.is_dir() => {
                    tracing::debug!(%key, %error, "a folder was asked to be deleted as an object");
                    Err(Error::NotFound { key: key.clone() })
                }
                result => result.map_err(|error| Error::io(ACTION, key, error)),
            }?;
            files::sync_ancestors(shared, key, &path, None)
        })
        .await
    }

    async fn persist(&self, keys: &[StorageKey]) -> Result<(), Error> {
        let Some(first) = keys.first() else {
            return Ok(());
        };
        let keys = keys.to_vec();
        self.run("sync", first, move |shared, _| {
            keys.iter().try_for_each(|key| files::persist(shared, key))
        })
        .await
    }

    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), Error> {
        self.run("delete", prefix, move |shared, prefix| {
            files::delete_tree(shared, prefix, durability)
        })
        .await
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error> {
        let entries = self.run("list", prefix, files::list).await?;
        Ok(stream::iter(entries).map(Ok).boxed())
    }

    fn large_write(&self) -> LargeWrite<'_> {
        LargeWrite::Append(self)
    }

    async fn redirect(&self, _key: &StorageKey) -> Result<Option<String>, Error> {
        Ok(None) // A folder has no URL a client could use.
    }

    async fn sweep(&self, age: Duration) -> Result<Swept, Error> {
        let root = StorageKey::parse("docker")?;
        self.run("sweep", &root, move |shared, _| Ok(files::sweep(shared, age)))
            .await
    }
}

#[async_trait]
impl Reclaim for Filesystem {
    async fn touch(&self, key: &StorageKey) -> Result<(), Error> {
        self.run("touch", key, |shared, key| {
            aside::or_restored(shared, key, || conditional::touch(shared, key))
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
        self.run("delete", key, move |shared, key| {
            conditional::delete(shared, key, &condition, &prune_root, durability)
        })
        .await
    }

    async fn prune(&self, prefix: &StorageKey, prune_root: &StorageKey) -> Result<bool, Error> {
        let prune_root = prune_root.clone();
        self.run("prune", prefix, move |shared, prefix| {
            prune::prune(shared, prefix, &prune_root)
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
        self.run("open", key, move |shared, key| writer::open(shared, key, staged))
            .await
            .map(|opened| Box::new(writer::StagedFile::new(self.clone(), opened)) as Box<dyn Writer>)
    }

    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error> {
        let target = target.clone();
        self.run("publish", staged, move |shared, staged| {
            writer::publish(shared, staged, &target, size)
        })
        .await
    }
}
