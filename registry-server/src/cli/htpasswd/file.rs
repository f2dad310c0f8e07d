//! Password files. A file is read whole and changed as text, so that comments and unknown lines stay, and is replaced in
//! one step.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::error::Error;

/// The text of an existing password file.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let text = match crate::files::text::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing {
                path: path.to_owned(),
            });
        }
        Err(source) => {
            return Err(Error::File {
                action: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    // As Apache does: a file with a line of another form is no password file.
    let is_line = |line: &str| line.trim().is_empty() || line.starts_with('#') || line.contains(':');
    match text.lines().all(is_line) {
        true => Ok(text),
        false => Err(Error::InvalidFile {
            path: path.to_owned(),
        }),
    }
}

/// Whether a line is the line of a user.
fn is_line_of(line: &str, user: &str) -> bool {
    !line.starts_with('#') && line.split_once(':').is_some_and(|(name, _)| name.trim() == user)
}

/// The hash of a user. As in the registry, the last line of the user counts.
pub(super) fn hash_of<'a>(text: &'a str, user: &str) -> Option<&'a str> {
    let line = text.lines().rfind(|line| is_line_of(line, user))?;
    line.split_once(':').map(|(_, hash)| hash.trim())
}

/// The text with the line of a user replaced, or added at the end. Also says whether the user was there.
pub(super) fn with_user(text: &str, user: &str, line: &str) -> (String, bool) {
    let mut found = false;
    let mut out = String::new();
    for old in text.lines() {
        if is_line_of(old, user) {
            if !found {
                out.push_str(line);
                out.push('\n');
            }
            found = true;
        } else {
            out.push_str(old);
            out.push('\n');
        }
    }
    if !found {
        out.push_str(line);
        out.push('\n');
    }
    (out, found)
}

/// The text without a user. Also says whether the user was there.
pub(super) fn without_user(text: &str, user: &str) -> (String, bool) {
    let kept: String = text
        .lines()
        .filter(|line| !is_line_of(line, user))
        .flat_map(|line| [line, "\n"])
        .collect();
    (kept, text.lines().any(|line| is_line_of(line, user)))
}

/// Replaces the file in one step, so that a registry reads either the old users or the new users. A file that is mounted
/// into a container by itself cannot be replaced by a rename, and is written in place.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    replace(path, text)
        .or_else(|_| fs::write(path, text))
        .map_err(|source| Error::File {
            action: "write",
            path: path.to_owned(),
            source,
        })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    // If the path is a symbolic link, its target is replaced and not the link.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy()
        .into_owned();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let old = fs::metadata(&path).ok();
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&temporary)?;
        if let Some(old) = &old {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            std::os::unix::fs::chown(&temporary, Some(old.uid()), Some(old.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
