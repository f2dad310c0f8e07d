//! Which directories and files are known to survive a loss of power.
//!
//! A name survives only if every directory above it does, whoever made it. Syncing all of them for every write
//! is right but slow: a sync of a clean directory still waits for the disk, 5 ms on a busy one, and a link lies
//! nine deep. So the directories that were synced once are remembered, by what the file system says they are and
//! not by their path: one that was removed and made again is another one.
//!
//! Files are remembered too once their directory was synced behind their rename: an answer that an object is there needs
//! a sync only where this process does not know of one. A sync that fails remembers nothing, so the next answer syncs
//! again. That tells the truth of directories: a file system that cannot write its own structure goes read-only or shuts
//! down. It does not of the bytes of a file, which Linux forgets once it has told of an error; no file is synced twice.

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

/// A directory or file, apart from every other one: inode numbers are used again, times of birth are not.
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

    /// `None` where the file system keeps no time of birth: what lies there is never remembered.
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
    /// Makes what was done to the names in `folder` survive, and `folder` itself, up to `root`. Remembers the file that
    /// was given a name there before, if there is one.
    ///
    /// # Errors
    /// The operating system's. A folder that was removed meanwhile is none: nothing is left there to keep.
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
            // A known directory was reached through known ones only, and it is the same still.
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

/// Makes the names of the root and of the folders above it survive, which whoever made them may not have done: without
/// them everything below is lost. What a program may not open, or is another file system's, was there before it.
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

    use super::super::calls::System;
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
