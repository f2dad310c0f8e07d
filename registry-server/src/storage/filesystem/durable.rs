//! The directories and files that are known to survive a loss of power.
//!
//! A name survives only if every directory above it does. To sync all of them for every write is right but slow: a sync of
//! an unchanged directory still waits for the disk, 5 ms on a busy one, and a link has nine directories above it. So a
//! directory that was synced once is remembered, by its identity in the file system and not by its path: a directory that
//! was removed and made again is another one.
//!
//! A file is remembered too, once its directory was synced after its rename. To answer that an object exists, a sync is
//! needed only if the file is not remembered. After a failed sync nothing is remembered, so the next answer syncs again. For
//! directories that is correct: a file system that cannot write its own structure goes read-only or shuts down. For the
//! bytes of a file it would not be, since Linux reports a failed write only once. So no file is synced twice.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::capabilities::Capabilities;

/// How many directories and files are remembered. When there are more, all are forgotten, which costs some syncs.
const KNOWN_MAX: usize = 16 * 1024;

/// The identity of a directory or file. Inode numbers are reused; together with the time of birth they are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    born: SystemTime,
}

impl Identity {
    fn of(folder: &Path) -> io::Result<Option<Self>> {
        fs::metadata(folder).map(|metadata| Self::in_metadata(&metadata))
    }

    /// `None` where the file system keeps no time of birth: files on it are never remembered.
    pub(super) fn in_metadata(metadata: &fs::Metadata) -> Option<Self> {
        metadata.created().ok().map(|born| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born,
        })
    }
}

/// The directories and files whose own names, and those of all above them, were synced by this process.
#[derive(Debug, Default)]
pub(super) struct Durable {
    known: Mutex<HashSet<Identity>>,
}

impl Durable {
    /// Makes the names in `folder` survive a loss of power, and `folder` itself, up to `root`. Remembers `file`, which was
    /// given a name in the folder before.
    ///
    /// # Errors
    /// The operating system's. A folder that was removed meanwhile is no error.
    pub(super) fn sync(
        &self,
        capabilities: &Capabilities,
        folder: &Path,
        root: &Path,
        file: Option<Identity>,
    ) -> io::Result<()> {
        capabilities.sync_folder(folder)?;
        let mut fresh = Vec::from_iter(file);
        let mut current = folder;
        while current != root {
            let identity = match Identity::of(current) {
                Ok(identity) => identity,
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            // All directories above a remembered one were synced before it.
            if identity.is_some_and(|identity| self.knows(&identity)) {
                break;
            }
            fresh.extend(identity);
            let Some(parent) = current.parent() else { break };
            capabilities.sync_folder(parent)?;
            current = parent;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + fresh.len() > KNOWN_MAX {
            known.clear();
        }
        known.extend(fresh);
        Ok(())
    }

    pub(super) fn knows(&self, identity: &Identity) -> bool {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(identity)
    }
}

/// Makes the names of the root and of the folders above it survive a loss of power; without them everything below is lost.
/// Folders that cannot be opened, or that are on another file system, existed before this program and are skipped.
pub(super) fn sync_above(root: &Path) {
    let device = |folder: &Path| fs::metadata(folder).map(|metadata| metadata.dev()).ok();
    for folder in root
        .ancestors()
        .skip(1)
        .take_while(|folder| device(folder) == device(root))
    {
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            tracing::debug!(folder = %folder.display(), %error, "a folder above the store cannot be synced");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::system_calls::System;
    use super::*;

    fn sync(durable: &Durable, folder: &Path, root: &Path) {
        let capabilities = Capabilities::new("a store", Arc::new(System));
        durable.sync(&capabilities, folder, root, None).unwrap();
    }

    #[test]
    fn a_directory_made_again_is_not_the_one_that_was_synced() {
        let root = tempfile::tempdir().unwrap();
        let (above, folder) = (root.path().join("a"), root.path().join("a/b"));
        fs::create_dir_all(&folder).unwrap();
        let durable = Durable::default();
        sync(&durable, &folder, root.path());
        let first = Identity::of(&folder)
            .unwrap()
            .expect("the file system of the tests keeps times of birth");
        assert!(durable.knows(&first) && durable.knows(&Identity::of(&above).unwrap().unwrap()));
        fs::remove_dir_all(&above).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let second = Identity::of(&folder).unwrap().unwrap();
        assert!(!durable.knows(&second), "{first:?} {second:?}");
        sync(&durable, &folder, root.path());
        assert!(durable.knows(&second));
    }

    #[test]
    fn a_folder_that_is_gone_needs_no_sync() {
        let root = tempfile::tempdir().unwrap();
        sync(&Durable::default(), &root.path().join("a/b/c"), root.path());
    }
}
