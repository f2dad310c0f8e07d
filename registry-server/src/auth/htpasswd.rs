//! Logins against a file of bcrypt hashes, as Apache's `htpasswd -B` writes it.
//!
//! Guarantees: the file is reloaded when it changes, also when it is a link into a mounted Secret, and no request waits
//! for that; a login is accepted only if its user has that password at the moment of acceptance, however long the check
//! took; a file that cannot be used is logged once, and the last good users stay. Only bcrypt is accepted: an
//! administrator does not expect a registry to be weaker than that.
//! Must not: know a request. Start at [`Htpasswd::open`] and [`Htpasswd::check`].

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
use super::login_queue::{Admission, Login, LoginQueue, Overload, Permit};
use super::metrics::{LoginMetrics, Outcome};
use super::password::{self, Verdict};
use super::users::{self, Users};
use crate::files::FileVersion;

/// How often the file is checked for a change. After this time a removed user cannot log in any more.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a client that was turned away should wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// bcrypt uses no more bytes of a password than these.
const BCRYPT_BYTES: usize = 72;
/// How often a login is checked when its user changes during each check.
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
    /// Locked while a slow disk is read. No request takes this lock.
    file: Mutex<FileState>,
    cache: CredentialCache,
    queue: Arc<LoginQueue>,
    metrics: LoginMetrics,
    /// Hashes user names with a key of this process, so that no client can choose names with the same hash.
    names: std::hash::RandomState,
}

/// The file as it was last read.
struct FileState {
    version: Option<FileVersion>,
    /// Whether it was logged that the changed file cannot be used.
    error_logged: bool,
}

/// The result of checking a login.
#[derive(Debug, PartialEq, Eq)]
enum Checked {
    Right,
    Wrong,
    /// The user's line in the file changed during the check.
    Outdated,
}

impl Htpasswd {
    /// Reads the users. A missing file is created with a user `docker`, whose random password is logged: distribution
    /// does that, and its documentation tells people to look for it. Reads files and may hash a password, so it must
    /// not run on an async thread.
    ///
    /// # Errors
    /// The file cannot be read or created, or has lines but no line that can be accepted.
    pub fn open(realm: impl Into<String>, path: impl Into<PathBuf>) -> Result<Self, Error> {
        let metrics = LoginMetrics::default();
        let queue = LoginQueue::new(metrics.clone());
        Self::open_with(realm.into(), path.into(), queue, metrics)
    }

    /// Does the same as [`Htpasswd::open`], with a queue of the caller's.
    pub(super) fn open_with(
        realm: String,
        path: PathBuf,
        queue: LoginQueue,
        metrics: LoginMetrics,
    ) -> Result<Self, Error> {
        let (version, users) = initial_users(&path)?;
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

    /// Reloads the file whenever it changes, for as long as the future is polled.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.on_blocking_thread(Shared::reload_if_changed).await;
        }
    }

    /// Reloads the file, changed or not.
    pub(super) async fn reload(&self) {
        self.on_blocking_thread(Shared::reload).await;
    }

    /// Runs work where a slow file, on a network for example, blocks no async thread.
    async fn on_blocking_thread(&self, work: fn(&Shared)) {
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || work(&shared)).await;
    }

    /// The response that tells a client how to log in.
    pub(super) fn challenge(&self) -> Refusal {
        Refusal::Challenge {
            www_authenticate: format!("Basic realm={}", quoted(&self.shared.realm)),
        }
    }

    /// Checks a user's password.
    pub(super) async fn check(
        &self,
        user: String,
        mut password: Vec<u8>,
        client: Option<IpAddr>,
    ) -> Result<Identity, Refusal> {
        let shared = &self.shared;
        // The bytes that bcrypt does not use are not kept in the queue.
        password.truncate(BCRYPT_BYTES);
        password.shrink_to_fit();
        let credentials = Arc::new(Credentials { user, password });
        for _ in 0..CHECKS_MAX {
            let users = shared.users.load_full();
            if users.is_empty() {
                // Without users there is nothing for the time of a response to reveal.
                shared.metrics.count(Outcome::Refused);
                return Err(self.challenge());
            }
            let fingerprint = shared.fingerprint(&credentials, users.hash(&credentials.user));
            let lookup = shared.cache.lookup(&fingerprint);
            if lookup == Lookup::Fresh {
                return Ok(self.accepted(&credentials));
            }
            let login = Login {
                client: client.into(),
                user: shared.names.hash_one(&credentials.user),
                fingerprint,
                verified_before: lookup == Lookup::Stale,
            };
            let permit = match shared.queue.admit(login).await {
                Ok(Admission::Check(permit)) => permit,
                Ok(Admission::Verified) => continue,
                Err(Overload::Client) => {
                    return Err(Refusal::TooMany {
                        retry_after: RETRY_AFTER,
                    });
                }
                Err(Overload::Server) => return Err(Refusal::Unavailable),
            };
            match shared.check(&credentials, permit).await {
                Some(Checked::Right) => return Ok(self.accepted(&credentials)),
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

    fn accepted(&self, credentials: &Credentials) -> Identity {
        self.shared.metrics.count(Outcome::Accepted);
        Identity {
            name: Some(credentials.user.clone()),
        }
    }
}

/// A user name and a password as a client sent them.
struct Credentials {
    user: String,
    password: Vec<u8>,
}

impl Shared {
    /// Checks a password on a blocking thread. Returns `None` when the check did not run to its end.
    async fn check(self: &Arc<Self>, credentials: &Arc<Credentials>, permit: Permit) -> Option<Checked> {
        let (shared, credentials) = (Arc::clone(self), Arc::clone(credentials));
        let checked = tokio::task::spawn_blocking(move || {
            // The check holds the permit, not the request: bcrypt goes on when the client disconnects.
            let _permit = permit;
            // Loaded after the wait in the queue: the file may have changed since the login arrived.
            let users = shared.users.load_full();
            let stored = users.hash(&credentials.user);
            let Verdict { matches, .. } = password::check(stored, &credentials.password, users.max_cost());
            shared.conclude(&credentials, stored, matches)
        });
        checked.await.ok()
    }

    /// Turns the result of a check against `stored` into that of the login.
    fn conclude(&self, credentials: &Credentials, stored: Option<&BcryptHash>, matches: bool) -> Checked {
        // A user who was removed from the file while bcrypt ran is not accepted.
        if self.users.load().hash(&credentials.user) != stored {
            return Checked::Outdated;
        }
        if !matches {
            return Checked::Wrong;
        }
        let fingerprint = self.fingerprint(credentials, stored);
        self.cache.insert(fingerprint);
        self.queue.admit_verified(&fingerprint);
        Checked::Right
    }

    /// Also made for an unknown user, so that the time of a response does not reveal who exists.
    fn fingerprint(&self, credentials: &Credentials, stored: Option<&BcryptHash>) -> Fingerprint {
        let hash = stored.map_or("", BcryptHash::expose);
        self.cache
            .fingerprint(&credentials.user, &credentials.password, hash)
    }

    /// Reloads the file if it changed since the last read.
    fn reload_if_changed(&self) {
        // The lock is taken while an earlier reload still waits for a slow disk.
        if let Ok(mut file) = self.file.try_lock() {
            self.read_if_new(&mut file);
        }
    }

    /// Reloads the file even if it did not change.
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
        let read = match FileVersion::of(&self.path) {
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
                // Logged once for each bad file, not at every poll. Without a version the next poll reads it again.
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

/// Reads the users at the start, and creates a missing file.
fn initial_users(path: &Path) -> Result<(Option<FileVersion>, Users), Error> {
    match std::fs::metadata(path) {
        // Debian's package of distribution is installed like this. There no login succeeds, either.
        Ok(metadata) if metadata.is_dir() => {
            tracing::warn!(path = %path.display(), "`auth.htpasswd.path` is a folder and no file: nobody can log in");
            return Ok((FileVersion::of(path).ok(), Users::default()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => users::create(path)?,
        Ok(_) | Err(_) => {}
    }
    let (version, users) = users::read(path)?;
    Ok((Some(version), users))
}

#[cfg(test)]
mod tests;
