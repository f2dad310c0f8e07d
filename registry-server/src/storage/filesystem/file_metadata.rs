//! An object's metadata from that of its file, and errors of files that do not exist.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::storage::{Error, Metadata, StorageKey};

/// Size and time of an object. A folder or a device is no object.
pub(super) fn object_metadata(key: &StorageKey, metadata: &fs::Metadata) -> Result<Metadata, Error> {
    if !metadata.is_file() {
        return Err(Error::NotFound { key: key.clone() });
    }
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Metadata {
        size: metadata.len(),
        modified,
    })
}

/// Whether an error says that there is no such file.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Removes a file that may have gone already. A failure is logged and no error.
pub(super) fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && !is_absence(&error)
    {
        tracing::warn!(path = %path.display(), %error, "a temporary file is left behind; the next sweep takes it");
    }
}
