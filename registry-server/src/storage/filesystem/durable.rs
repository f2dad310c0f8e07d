//! Which directories are known to survive a loss of power.
//!
//! A name survives only if every directory above it does, whoever made it. Syncing all of them for every write
//! is right but slow: a sync of a clean directory still waits for the disk, 5 ms on a busy one, and a link lies
//! nine deep. So the directories that were synced once are remembered, by what the file system says they are and
//! not by their path: one that was removed and made again is another one.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How many directories are remembered. When there are more, all are forgotten, which costs some syncs.
const KNOWN_MAX: usize = 16 * 1024;

/// A directory, apart from every other one: inode numbers are used again, times of birth are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    born: SystemTime,
}

impl Identity {
    /// `None` where the file system keeps no time of birth: such directories are never remembered.
    fn of(folder: &Path) -> io::Result<Option<Self>> {
        let metadata = fs::metadata(folder)?;
        Ok(metadata.created().ok().map(|born| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born,
        }))
    }
}

/// The directories whose own names, and those of all above them, were synced by this process.
#[derive(Debug, Default)]
pub(super) struct Durable {
    known: Mutex<HashSet<Identity>>,
}

impl Durable {
    /// Makes what was done to the names in `folder` survive, and `folder` itself, up to `root`.
    ///
    /// # Errors
    /// The operating system's. A folder that was removed meanwhile is none: nothing is left there to keep.
    pub(super) fn sync(&self, folder: &Path, root: &Path) -> io::Result<()> {
        sync_one(folder)?;
        let mut fresh = Vec::new();
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
            sync_one(parent)?;
            current = parent;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + fresh.len() > KNOWN_MAX {
            known.clear();
        }
        known.extend(fresh);
        Ok(())
    }

    fn knows(&self, identity: &Identity) -> bool {
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
        if let Err(error) = sync_one(folder) {
            tracing::debug!(folder = %folder.display(), %error, "a folder above the store cannot be synced");
        }
    }
}

fn sync_one(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_made_again_is_not_the_one_that_was_synced() {
        let root = tempfile::tempdir().unwrap();
        let (above, folder) = (root.path().join("a"), root.path().join("a/b"));
        fs::create_dir_all(&folder).unwrap();
        let durable = Durable::default();
        durable.sync(&folder, root.path()).unwrap();
        let first = Identity::of(&folder)
            .unwrap()
            .expect("the file system of the tests keeps times of birth");
        assert!(durable.knows(&first) && durable.knows(&Identity::of(&above).unwrap().unwrap()));
        fs::remove_dir_all(&above).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let second = Identity::of(&folder).unwrap().unwrap();
        assert!(!durable.knows(&second), "{first:?} {second:?}");
        durable.sync(&folder, root.path()).unwrap();
        assert!(durable.knows(&second));
    }

    #[test]
    fn a_folder_that_is_gone_needs_no_sync() {
        let root = tempfile::tempdir().unwrap();
        Durable::default()
            .sync(&root.path().join("a/b/c"), root.path())
            .unwrap();
    }
}
