//! Files that people edit: how they are read, and what tells one version from the next, so that a changed one is read
//! again without a restart. `text` reads any of them, `pem` certificates and keys.
//!
//! Polled rather than watched: a mounted Secret changes by a rename of a link two folders up, a network file system
//! tells nobody, and one `stat` every few seconds costs nothing.

pub(crate) mod pem;
pub(crate) mod text;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One version of a file, behind every link on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    /// The version that is there now.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
