//! Users in a file of bcrypt hashes, as Apache's `htpasswd -B` writes it.
//!
//! Guarantees: the file is read again when it changes, a mounted Secret's links included, and no request waits for that;
//! a login is let in only if its user had that password when it was let in, however long its check took; a file that
//! cannot be used leaves the last good users in place and is logged once. Only bcrypt is accepted, ever: a weaker hash
//! would be a weaker door than the administrator of a registry expects.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use registry_config::htpasswd::BcryptHash;

use super::access::{Identity, Refusal};
use super::credential_cache::{CredentialCache, Fingerprint, Lookup};
use super::error::Error;
use super::header::quoted;
use super::login_queue::{Login, LoginQueue, Overload, Permit, Turn};
use super::metrics::{LoginMetrics, Outcome};
use super::password::{self, Verdict};
use super::users::{self, Users};
use crate::files::Version;

/// How often the file is looked at. A user who was removed is out after this, without a restart.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// When a client that was turned away should come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// bcrypt looks at no more bytes of a password than these.
const BCRYPT_BYTES: usize = 72;
/// How often a login is checked anew because its user changed meanwhile.
const CHECKS_MAX: usize = 3;

/// The users of one file.
#[derive(Debug)]
pub struct Htpasswd {
    shared: Arc<Shared>,
}

struct Shared {
    realm: String,
    path: PathBuf,
    users: ArcSwap<Users>,
    /// Held while a slow disk answers; no request asks for it.
    file: Mutex<FileState>,
    cache: CredentialCache,
    queue: Arc<LoginQueue>,
    metrics: LoginMetrics,
    /// With a key of this process, so that nobody can choose names that fall together.
    names: std::hash::RandomState,
}

/// What was seen of the file.
struct FileState {
    version: Option<Version>,
    /// A changed file that could not be used was logged.
    error_logged: bool,
}

/// What a check of a password said.
#[derive(Debug, PartialEq, Eq)]
enum Checked {
    Right,
    Wrong,
    /// The user has another password by now, or none.
    Outdated,
}

impl Htpasswd {
    /// Reads the users. A missing file is made, with a user `docker` whose random password is logged, because
    /// that is what distribution does and what its documentation tells people to look for. Reads files and may hash a
    /// password: not for an async thread.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds lines but not one that can be accepted.
    pub fn open(realm: impl Into<String>, path: impl Into<PathBuf>) -> Result<Self, Error> {
        let metrics = LoginMetrics::default();
        let queue = LoginQueue::new(metrics.clone());
        Self::open_with(realm.into(), path.into(), queue, metrics)
    }

    /// As [`Htpasswd::open`], with a queue of the caller's.
    pub(super) fn open_with(
        realm: String,
        path: PathBuf,
        queue: LoginQueue,
        metrics: LoginMetrics,
    ) -> Result<Self, Error> {
        let (version, users) = first(&path)?;
        let shared = Shared {
            realm,
            path,
            users: ArcSwap::from_pointee(users),
            file: Mutex::new(FileState {
                version,
                error_logged: false,
            }),
            cache: CredentialCache::new(),
            queue: Arc::new(queue),
            metrics,
            names: std::hash::RandomState::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Reads the file again whenever it changes, for as long as the future is polled.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.on_blocking_thread(Shared::reload_if_changed).await;
        }
    }

    /// Reads the file again, changed or not.
    pub(super) async fn reload(&self) {
        self.on_blocking_thread(Shared::reload).await;
    }

    /// On a thread where a file on a network may take its time.
    async fn on_blocking_thread(&self, work: fn(&Shared)) {
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || work(&shared)).await;
    }

    /// What tells a client how to log in.
    pub(super) fn challenge(&self) -> Refusal {
        Refusal::Challenge {
            www_authenticate: format!("Basic realm={}", quoted(&self.shared.realm)),
        }
    }

    /// Whether that is the user's password.
    pub(super) async fn check(
        &self,
        user: String,
        mut password: Vec<u8>,
        client: Option<IpAddr>,
    ) -> Result<Identity, Refusal> {
        let shared = &self.shared;
        // What bcrypt does not look at need not wait.
        password.truncate(BCRYPT_BYTES);
        password.shrink_to_fit();
        let attempt = Arc::new(Attempt { user, password });
        for _ in 0..CHECKS_MAX {
            let users = shared.users.load_full();
            if users.is_empty() {
                // Nothing to find out.
                shared.metrics.count(Outcome::Refused);
                return Err(self.challenge());
            }
            let fingerprint = shared.fingerprint(&attempt, users.hash(&attempt.user));
            let lookup = shared.cache.lookup(&fingerprint);
            if lookup == Lookup::Fresh {
                return Ok(self.accepted(&attempt));
            }
            let login = Login {
                client: client.into(),
                user: shared.names.hash_one(&attempt.user),
                fingerprint,
                known: lookup == Lookup::Stale,
            };
            let permit = match shared.queue.turn(login).await {
                Ok(Turn::Check(permit)) => permit,
                Ok(Turn::Verified) => continue,
                Err(Overload::Storm) => {
                    return Err(Refusal::TooMany {
                        retry_after: RETRY_AFTER,
                    });
                }
                Err(Overload::Busy) => return Err(Refusal::Unavailable),
            };
            match shared.check(&attempt, permit).await {
                Some(Checked::Right) => return Ok(self.accepted(&attempt)),
                Some(Checked::Wrong) => {
                    shared.metrics.count(Outcome::Refused);
                    return Err(self.challenge());
                }
                Some(Checked::Outdated) => {}
                None => break,
            }
        }
        Err(Refusal::Unavailable)
    }

    fn accepted(&self, attempt: &Attempt) -> Identity {
        self.shared.metrics.count(Outcome::Accepted);
        Identity {
            name: Some(attempt.user.clone()),
        }
    }
}

/// A name and a password that somebody sent.
struct Attempt {
    user: String,
    password: Vec<u8>,
}

impl Shared {
    /// Checks a password on a thread of its own; nothing when there is none to be had.
    async fn check(self: &Arc<Self>, attempt: &Arc<Attempt>, permit: Permit) -> Option<Checked> {
        let (shared, attempt) = (Arc::clone(self), Arc::clone(attempt));
        let checked = tokio::task::spawn_blocking(move || {
            // Held by the check and not by the request: a client that goes away does not stop bcrypt.
            let _permit = permit;
            // As the file is now, not as it was when the login began to wait.
            let users = shared.users.load_full();
            let stored = users.hash(&attempt.user);
            let Verdict { matches, .. } = password::check(stored, &attempt.password, users.max_cost());
            shared.settle(&attempt, stored, matches)
        });
        checked.await.ok()
    }

    /// What a check against `stored` is worth now that it is done.
    fn settle(&self, attempt: &Attempt, stored: Option<&BcryptHash>, matches: bool) -> Checked {
        // Users who were taken out of the file while bcrypt worked are not let in.
        if self.users.load().hash(&attempt.user) != stored {
            return Checked::Outdated;
        }
        if !matches {
            return Checked::Wrong;
        }
        let fingerprint = self.fingerprint(attempt, stored);
        self.cache.insert(fingerprint);
        self.queue.verified(&fingerprint);
        Checked::Right
    }

    /// For a user whom nobody knows as well: its absence would tell.
    fn fingerprint(&self, attempt: &Attempt, stored: Option<&BcryptHash>) -> Fingerprint {
        let hash = stored.map_or("", BcryptHash::expose);
        self.cache.fingerprint(&attempt.user, &attempt.password, hash)
    }

    /// Reads the file again if it is another one than last time.
    fn reload_if_changed(&self) {
        // Somebody else is still looking, at a disk that takes its time.
        if let Ok(mut file) = self.file.try_lock() {
            self.read_if_new(&mut file);
        }
    }

    /// Reads the file again, whatever was seen of it.
    fn reload(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        *file = FileState {
            version: None,
            error_logged: false,
        };
        self.read_if_new(&mut file);
    }

    fn read_if_new(&self, file: &mut FileState) {
        let path = self.path.display();
        let read = match Version::of(&self.path) {
            Ok(version) if file.version == Some(version) => return,
            Ok(_) => users::read(&self.path),
            Err(source) => Err(Error::Read {
                path: self.path.clone(),
                source,
            }),
        };
        match read {
            Ok((version, users)) => {
                tracing::info!(%path, users = users.len(), "htpasswd changed: users read again");
                self.users.store(Arc::new(users));
                *file = FileState {
                    version: Some(version),
                    error_logged: false,
                };
            }
            Err(error) => {
                // Once per trouble, not once per look; forgetting the version makes the next look try again.
                if !file.error_logged {
                    let cause = std::error::Error::source(&error)
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    tracing::error!(%path, cause, "htpasswd changed and cannot be used ({error}); the last good users stay");
                }
                *file = FileState {
                    version: None,
                    error_logged: true,
                };
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Htpasswd")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The users at the start, when there may be no file yet.
fn first(path: &Path) -> Result<(Option<Version>, Users), Error> {
    match std::fs::metadata(path) {
        // What Debian's package of distribution is installed with. There it lets nobody in.
        Ok(metadata) if metadata.is_dir() => {
            tracing::warn!(path = %path.display(), "`auth.htpasswd.path` is a folder and no file: nobody can log in");
            return Ok((Version::of(path).ok(), Users::default()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => users::create(path)?,
        Ok(_) | Err(_) => {}
    }
    let (version, users) = users::read(path)?;
    Ok((Some(version), users))
}

#[cfg(test)]
mod tests;
