//! Files that people edit: reading them, and noticing that they changed, so that a changed file is read without a restart.
//!
//! [`text`] reads any text file, [`pem`] reads certificates and keys.
//!
//! Files are polled rather than watched. A mounted Secret changes when a link two folders up is renamed, a network file
//! system reports no changes, and one `stat` every few seconds costs nothing.

pub(crate) mod pem;
pub(crate) mod text;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The identity and age of a file. Two equal values mean an unchanged file. Symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileVersion {
    /// The version of the file as it is now.
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
