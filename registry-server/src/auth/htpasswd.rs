//! Users in a file of bcrypt hashes, as Apache's `htpasswd -B` writes it.
//!
//! The file is read again when it changes, a mounted Secret's links included; a file that cannot be used leaves the
//! last good users in place and is logged once. Only bcrypt lines are accepted, ever: a weaker hash would be a
//! weaker door than the administrator of a registry expects.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rand::Rng;
use tokio::sync::Semaphore;

use super::verified::Verified;
use super::{Error, Identity, Refusal, quoted};
use crate::files::Version;

/// How old a look at the file may be. A user who was removed is out after this, without a restart.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many logins may wait for their turn at bcrypt, for each core. More would wait longer than clients do, and a flood
/// of wrong passwords would take the memory of as many requests as the attacker likes.
const WAITING_MAX: usize = 64;
/// How long a login may wait for its turn at bcrypt before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a client that found no place to wait should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What distribution creates: one user of this name.
const FIRST_USER: &str = "docker";

/// The users of one file.
#[derive(Debug)]
pub struct Htpasswd {
    shared: Arc<Shared>,
}

struct Shared {
    realm: String,
    path: PathBuf,
    users: ArcSwap<HashMap<String, String>>,
    /// When somebody looked last. Apart from `seen`, which is held while a slow disk answers.
    looked: Mutex<Instant>,
    seen: Mutex<Seen>,
    verified: Verified,
    /// As many checks at once as there are cores; more would only make each of them slower.
    turns: Arc<Semaphore>,
    /// Places to wait for one.
    waiting: Semaphore,
    /// Checked in place of an unknown user's hash, so that both answers take as long.
    nobody: ArcSwap<String>,
}

/// What was seen of the file.
struct Seen {
    version: Option<Version>,
    /// A changed file that could not be used was logged.
    complained: bool,
}

impl Htpasswd {
    /// Reads the users. A missing file is made, with a user `docker` whose random password is logged, because
    /// that is what distribution does and what its documentation tells people to look for.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds lines but not one that can be accepted.
    pub fn open(realm: impl Into<String>, path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        if let Err(source) = std::fs::metadata(&path)
            && source.kind() == std::io::ErrorKind::NotFound
        {
            create(&path)?;
        }
        let (version, users) = read(&path)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shared = Shared {
            realm: realm.into(),
            path,
            nobody: ArcSwap::from_pointee(hash(b"", dearest(&users))?),
            users: ArcSwap::from_pointee(users),
            looked: Mutex::new(Instant::now()),
            seen: Mutex::new(Seen {
                version: Some(version),
                complained: false,
            }),
            verified: Verified::new(),
            turns: Arc::new(Semaphore::new(cores)),
            waiting: Semaphore::new(WAITING_MAX * cores),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Looks at the file now, for tests that would otherwise have to wait.
    #[cfg(test)]
    pub(super) fn look_now(&self) {
        self.shared.look();
    }

    /// What a login of an unknown user costs.
    #[cfg(test)]
    pub(super) fn nobody_cost(&self) -> u32 {
        cost(&self.shared.nobody.load()).unwrap()
    }

    /// What tells a client how to log in.
    pub(super) fn challenge(&self) -> Refusal {
        Refusal::Challenge {
            www_authenticate: format!("Basic realm={}", quoted(&self.shared.realm)),
        }
    }

    /// Whether that is the user's password.
    pub(super) async fn check(&self, user: String, password: Vec<u8>) -> Result<Identity, Refusal> {
        if self.shared.wants_look() {
            let shared = Arc::clone(&self.shared);
            // A look at a file on a network may take its time.
            let _ = tokio::task::spawn_blocking(move || shared.look()).await;
        }
        let stored = self.shared.users.load().get(&user).cloned();
        if let Some(hash) = &stored
            && self
                .shared
                .verified
                .contains(&self.shared.verified.fingerprint(&user, &password, hash))
        {
            return Ok(Identity { name: Some(user) });
        }
        let Ok(place) = self.shared.waiting.try_acquire() else {
            return Err(Refusal::TooMany {
                retry_after: RETRY_AFTER,
            });
        };
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.shared.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Refusal::Unavailable);
        };
        drop(place);
        let shared = Arc::clone(&self.shared);
        let checked = tokio::task::spawn_blocking(move || {
            // Held by the check and not by the request: a client that goes away does not stop bcrypt.
            let _turn = turn;
            let nobody = shared.nobody.load_full();
            let hash = stored.as_deref().unwrap_or(&nobody);
            let fingerprint = shared.verified.fingerprint(&user, &password, hash);
            // Another request of the same client may have been first while this one waited for its turn.
            if stored.is_some() && shared.verified.contains(&fingerprint) {
                return Some(user);
            }
            // An unknown user's password is hashed as well, and refused whatever comes out.
            let matches = bcrypt::verify(&password, hash).unwrap_or(false);
            if stored.is_none() || !matches {
                return None;
            }
            shared.verified.insert(fingerprint);
            Some(user)
        })
        .await;
        match checked {
            Ok(Some(user)) => Ok(Identity { name: Some(user) }),
            Ok(None) => Err(self.challenge()),
            Err(_) => Err(Refusal::Unavailable),
        }
    }
}

impl Shared {
    /// Whether it is time to look at the file; says so to one caller only.
    fn wants_look(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.elapsed() >= LOOK_AGAIN;
        if due {
            *looked = Instant::now();
        }
        due
    }

    /// Reads the file again if it is another one than last time.
    fn look(&self) {
        // Somebody else is still looking, at a disk that takes its time.
        let Ok(mut seen) = self.seen.try_lock() else {
            return;
        };
        let path = self.path.display();
        let trouble = match Version::of(&self.path) {
            Ok(version) if seen.version == Some(version) => return,
            Ok(_) => match read(&self.path) {
                Ok((version, users)) => {
                    tracing::info!(%path, users = users.len(), "htpasswd changed: users read again");
                    let dearest = dearest(&users);
                    self.users.store(Arc::new(users));
                    // Hashing fails for a cost that is none, which `parse` lets nobody have.
                    if cost(&self.nobody.load()) != Some(dearest)
                        && let Ok(nobody) = hash(b"", dearest)
                    {
                        self.nobody.store(Arc::new(nobody));
                    }
                    *seen = Seen {
                        version: Some(version),
                        complained: false,
                    };
                    return;
                }
                Err(error) => error,
            },
            Err(source) => Error::Read {
                path: self.path.clone(),
                source,
            },
        };
        // Once per trouble, not once per request; forgetting the version makes the next look try again.
        if !seen.complained {
            let cause = std::error::Error::source(&trouble)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(%path, cause, "htpasswd changed and cannot be used ({trouble}); the last good users stay");
        }
        seen.version = None;
        seen.complained = true;
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Htpasswd")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<(Version, HashMap<String, String>), Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    // The version before the text: a change in between is then seen as one more change, never missed.
    let version = Version::of(path).map_err(unreadable)?;
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let (users, problems) = parse(&text);
    for (line, problem) in &problems {
        tracing::warn!(path = %path.display(), line, "htpasswd line is not accepted: {problem}");
    }
    if users.is_empty() && !problems.is_empty() {
        return Err(Error::NoUsers {
            path: path.to_owned(),
        });
    }
    if users.is_empty() {
        tracing::warn!(path = %path.display(), "htpasswd holds no users: nobody can log in");
    }
    Ok((version, users))
}

/// Users and their hashes, and the lines that are not accepted with the reason. The last line of a user counts, as
/// in distribution.
pub(super) fn parse(text: &str) -> (HashMap<String, String>, Vec<(usize, &'static str)>) {
    let mut users = HashMap::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let problem = match line.split_once(':') {
            None => "it has no `:`",
            Some(("", _)) => "it has no user",
            Some((user, hash)) if cost(hash).is_some() => {
                users.insert(user.to_owned(), hash.to_owned());
                continue;
            }
            Some(_) => "its hash is not bcrypt ($2a$, $2b$ or $2y$); make it with `htpasswd -B`",
        };
        problems.push((index + 1, problem));
    }
    (users, problems)
}

/// The cost of a bcrypt hash; nothing when it is none.
fn cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| hash.strip_prefix(prefix))?;
    let (cost, digest) = rest.split_once('$')?;
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    let well_formed = cost.len() == 2 && digest.len() == 53 && digest.bytes().all(alphabet);
    let cost = cost.parse().ok().filter(|cost| (4..=31).contains(cost))?;
    well_formed.then_some(cost)
}

/// The cost of the dearest hash: what an unknown user is made to cost, or the timing would tell who exists.
fn dearest(users: &HashMap<String, String>) -> u32 {
    users
        .values()
        .filter_map(|hash| cost(hash))
        .max()
        .unwrap_or(bcrypt::DEFAULT_COST)
}

fn hash(password: &[u8], cost: u32) -> Result<String, Error> {
    let parts = bcrypt::hash_with_result(password, cost).map_err(Error::Bug)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoY))
}

/// Makes the file as distribution does: readable by its owner only, one user, a random password in the log.
fn create(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Create {
        path: path.to_owned(),
        source,
    };
    let password: String = rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(32)
        .map(char::from)
        .collect();
    let line = format!(
        "{FIRST_USER}:{}\n",
        hash(password.as_bytes(), bcrypt::DEFAULT_COST)?
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
    file.write_all(line.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    // The one password that is ever logged, because nobody could log in otherwise.
    tracing::warn!(path = %path.display(), user = FIRST_USER, %password, "htpasswd is missing: made one with a random password; replace it");
    Ok(())
}
