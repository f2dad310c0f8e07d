//! The users of an htpasswd file: reading the file, creating it, and the result of the last read.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand::Rng;
use registry_config::htpasswd::{self, BcryptHash, RefusedLine};

use super::error::Error;
use crate::files::{FileVersion, text};

/// The largest file that is read. A path that names an endless device by mistake must not use up all memory.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many refused lines are logged one by one.
const LINES_LOGGED: usize = 20;
/// The user of a created file, as in distribution.
const FIRST_USER: &str = "docker";
/// The cost of that user's hash.
const FIRST_COST: u32 = 10;

/// The users of one version of a file.
#[derive(Debug, Default)]
pub(super) struct Users {
    hashes: HashMap<String, BcryptHash>,
    max_cost: u32,
}

impl Users {
    pub(super) fn new(hashes: HashMap<String, BcryptHash>) -> Self {
        let max_cost = hashes.values().map(BcryptHash::cost).max().unwrap_or(0);
        Self { hashes, max_cost }
    }

    pub(super) fn hash(&self, user: &str) -> Option<&BcryptHash> {
        self.hashes.get(user)
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The cost of the most expensive hash.
    pub(super) fn max_cost(&self) -> u32 {
        self.max_cost
    }

    /// Whether the hashes differ in their cost.
    fn is_mixed(&self) -> bool {
        self.hashes.values().any(|hash| hash.cost() != self.max_cost)
    }

    /// Logs the refused lines, and what a person should know of the users.
    pub(super) fn log(&self, path: &Path, refused: &[RefusedLine]) {
        let path = path.display();
        for RefusedLine { line, user, problem } in refused.iter().take(LINES_LOGGED) {
            let user = user.as_deref();
            tracing::warn!(%path, line, user, "htpasswd line is not accepted: {problem}");
        }
        let more = refused.len().saturating_sub(LINES_LOGGED);
        if more > 0 {
            tracing::warn!(%path, "{more} more lines of htpasswd are not accepted");
        }
        if self.is_empty() {
            tracing::warn!(%path, "htpasswd has no users: nobody can log in");
        }
        if self.is_mixed() {
            tracing::info!(%path, cost = self.max_cost, "htpasswd has hashes of several costs: every refused login costs as much as the most expensive one");
        }
    }
}

/// Reads the users of a file and logs the refused lines.
pub(super) fn read(path: &Path) -> Result<(FileVersion, Users), Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    // The version is read before the text. A change in between then causes one reload too many, and none is missed.
    let version = FileVersion::of(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    let text = text::decode(&bytes)
        .map_err(|problem| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, problem)))?;
    let htpasswd::Htpasswd { users, refused } = htpasswd::parse(&text);
    let users = Users::new(users);
    users.log(path, &refused);
    if users.is_empty() && !refused.is_empty() {
        return Err(Error::NoUsers {
            path: path.to_owned(),
        });
    }
    Ok((version, users))
}

/// Creates the file as distribution does: readable by its owner only, with one user, whose random password is logged.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Create {
        path: path.to_owned(),
        source,
    };
    let password: String = rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(32)
        .map(char::from)
        .collect();
    let hash = bcrypt::hash_with_result(&password, FIRST_COST).map_err(Error::Bug)?;
    let line = format!(
        "{FIRST_USER}:{}\n",
        hash.format_for_version(bcrypt::Version::TwoY)
    );
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.sync_all()) {
        // Removed, so that the next start creates another one: the password of this one was never logged.
        let _ = std::fs::remove_file(path);
        return Err(failed(error));
    }
    // The only password that is ever logged, because nobody could log in without it.
    tracing::warn!(path = %path.display(), user = FIRST_USER, %password, "htpasswd is missing: created one with a random password; replace it");
    Ok(())
}
