//! The folder of a store: its path, what is known of it, and the threads on which its file calls run.
//!
//! Start at [`Folder::run`].

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::capabilities::Capabilities;
use super::durable::Durable;
use super::handle;
use super::root_identity::{self, RootIdentity};
use crate::storage::{Error, StorageKey, StoreHealth};
use crate::task::join;

/// Whether writes are synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// As the driver promises.
    Always,
    /// Never. An acknowledged write survives a crash of the process but no loss of power. For temporary stores, such as
    /// those of tests.
    Never,
}

/// The folder of a store. All handles of the store share it.
#[derive(Debug)]
pub(super) struct Folder {
    /// Driver and folder, for log lines.
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) identity: RootIdentity,
    pub(super) capabilities: Capabilities,
    pub(super) sync: Sync,
    pub(super) durable: Durable,
    /// Files whose bytes were lost and whose names could not be removed: device and inode number.
    pub(super) lost: Mutex<HashSet<(u64, u64)>>,
    pub(super) threads: Arc<Semaphore>,
    pub(super) store_health: StoreHealth,
}

impl Folder {
    pub(super) fn path(&self, key: &StorageKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// The key of a path below the root.
    pub(super) fn key(&self, path: &Path) -> Option<StorageKey> {
        let below = path.strip_prefix(&self.root).ok()?.to_str()?;
        StorageKey::parse(below).ok()
    }

    /// Checks that the folder is still the one that was there at the start.
    pub(super) fn is_there(&self, action: &'static str, key: &StorageKey) -> Result<(), Error> {
        self.identity
            .check(&self.root)
            .map_err(|error| root_identity::error(action, key, error))?;
        self.store_health.note_present(&self.name);
        Ok(())
    }

    pub(super) fn is_lost(&self, file: &fs::File) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        !lost.is_empty() && root_identity::identity(file).is_ok_and(|identity| lost.contains(&identity))
    }

    /// Notes whether a file whose bytes were lost still has a name. Inode numbers are reused for other files.
    pub(super) fn remember_lost(&self, file: &fs::File, has_name: bool) {
        if let Ok(identity) = root_identity::identity(file) {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            match has_name {
                true => lost.insert(identity),
                false => lost.remove(&identity),
            };
        }
    }

    /// Notes a successful write.
    pub(super) fn wrote(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.store_health.note_write(&self.name);
        }
    }

    /// Runs file calls on a thread that may block. Work that has begun runs to its end, even when the future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        action: &'static str,
        key: &StorageKey,
        work: impl FnOnce(&Folder, &StorageKey) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let stopping = || Error::Stopping {
            action,
            key: key.clone(),
        };
        let permit = Arc::clone(&self.threads)
            .acquire_owned()
            .await
            .map_err(|_| stopping())?;
        let (folder, owned_key) = (Arc::clone(self), key.clone());
        let task = handle::blocking(move || {
            let _permit = permit;
            let done = folder.is_there(action, &owned_key).and_then(|()| {
                // A missing file, or a failure, may be due to a missing folder.
                work(&folder, &owned_key)
                    .map_err(|error| folder.is_there(action, &owned_key).err().unwrap_or(error))
            });
            if let Err(error) = &done {
                folder.store_health.note_failure(&folder.name, error);
            }
            done
        });
        join(task).await.unwrap_or_else(|| Err(stopping()))
    }
}
