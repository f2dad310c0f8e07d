//! The queue of logins that wait for a core to run bcrypt on.
//!
//! Guarantees: addresses are served in rotation, so that during a flood of logins from one address, a login from
//! another one waits for at most one check of each waiting address; the number of waiting logins is bounded, and when
//! the queue is full, a login of the address with the most logins is turned away; no login waits longer than the
//! timeout; a login that is dropped gives up its place or its permit at once.
//! Must not: read a body, or know whether a password is right.
//!
//! Behind a proxy that is not trusted, all clients have one address. Within an address, users are served in rotation:
//! users who were not served yet come first, and of these the newest. The client of a new login still waits for its
//! response, while the client of an old login in a flood may have left. The same order holds for the logins of one
//! user. Credentials that were right before come first of all, because only a client that knows the password can send
//! them. docs/adr/0022.
//!
//! Start at [`LoginQueue::admit`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::credential_cache::Fingerprint;
use super::metrics::{LoginMetrics, Outcome};
use crate::client_key::ClientKey;
use crate::telemetry::LogThrottle;

/// The largest number of waiting logins. Each holds the head of its request, and the part of the body that arrived.
const WAITING_MAX: usize = 256;
/// How long a login may wait. Docker gives up after 15 s.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A login whose password has to be checked.
#[derive(Clone, Copy)]
pub(super) struct Login {
    pub(super) client: ClientKey,
    /// A hash of the user's name. The user need not exist.
    pub(super) user: u64,
    pub(super) fingerprint: Fingerprint,
    /// Whether the same credentials were right before.
    pub(super) verified_before: bool,
}

/// The end of a wait in the queue.
#[derive(Debug)]
pub(super) enum Admission {
    /// The caller may check one password.
    Check(Permit),
    /// Another login with the same credentials was found right, so no check is needed.
    Verified,
}

/// The reason for turning a login away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overload {
    /// The address of the login sends more logins than can be checked.
    Client,
    /// All addresses together do.
    Server,
}

/// The queue of one htpasswd file.
pub(super) struct LoginQueue {
    /// The number of checks at the same time: one for each core. More would only make each check slower.
    concurrency: usize,
    waiting_max: usize,
    timeout: Duration,
    state: Mutex<QueueState>,
    metrics: LoginMetrics,
    /// Limits the log line about logins that are turned away.
    turned_away_line: LogThrottle,
}

#[derive(Default)]
struct QueueState {
    running: usize,
    /// Numbers arrivals and checks in their order.
    clock: u64,
    /// In the order of arrival.
    waiting: Vec<Waiting>,
    clients: HashMap<ClientKey, QueueShare>,
    users: HashMap<(ClientKey, u64), QueueShare>,
}

struct Waiting {
    login: Login,
    arrived: u64,
    sender: oneshot::Sender<Result<Granted, Overload>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Granted {
    Check,
    Verified,
}

/// The logins in the queue of one address, or of one user at an address.
#[derive(Default)]
struct QueueShare {
    waiting: usize,
    /// The clock of its last check, or of its arrival before the first one.
    since: u64,
    served: bool,
}

impl LoginQueue {
    pub(super) fn new(metrics: LoginMetrics) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with(cores, WAITING_MAX, TIMEOUT, metrics)
    }

    pub(super) fn with(
        concurrency: usize,
        waiting_max: usize,
        timeout: Duration,
        metrics: LoginMetrics,
    ) -> Self {
        Self {
            concurrency,
            waiting_max,
            timeout,
            state: Mutex::default(),
            metrics,
            turned_away_line: LogThrottle::default(),
        }
    }

    /// Waits until the login may be checked. Dropping the future gives up its place.
    pub(super) async fn admit(self: &Arc<Self>, login: Login) -> Result<Admission, Overload> {
        let mut place = self.enter(login);
        let granted = match tokio::time::timeout(self.timeout, place.receiver()).await {
            Ok(Ok(granted)) => granted,
            // No sender is dropped before it has sent.
            Ok(Err(_)) => Err(Overload::Server),
            Err(_) => Err(self.expire(&login)),
        };
        match granted {
            Ok(Granted::Check) => Ok(Admission::Check(place.into_permit())),
            Ok(Granted::Verified) => Ok(Admission::Verified),
            Err(overload) => Err(overload),
        }
    }

    /// Admits every waiting login with these credentials, because they were found right.
    pub(super) fn admit_verified(&self, fingerprint: &Fingerprint) {
        let mut state = self.lock();
        while let Some(index) = state
            .waiting
            .iter()
            .position(|waiting| waiting.login.fingerprint == *fingerprint)
        {
            let _ = state.remove(index).sender.send(Ok(Granted::Verified));
        }
        self.metrics.waiting(state.waiting.len());
    }

    fn enter(self: &Arc<Self>, login: Login) -> Place {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let arrived = state.insert(login, sender);
        state.grant_permits(self.concurrency);
        if state.waiting.len() > self.waiting_max
            && let Some(index) = state.login_to_evict()
        {
            let overload = state.overload(&state.waiting[index].login);
            let evicted = state.remove(index);
            self.turn_away(&state, &evicted.login, overload);
            let _ = evicted.sender.send(Err(overload));
        }
        self.metrics.waiting(state.waiting.len());
        Place {
            queue: Arc::clone(self),
            arrived,
            receiver: Some(receiver),
        }
    }

    fn expire(&self, login: &Login) -> Overload {
        let state = self.lock();
        let overload = state.overload(login);
        self.turn_away(&state, login, overload);
        overload
    }

    /// Counts a login that is turned away, and logs that from time to time.
    fn turn_away(&self, state: &QueueState, login: &Login, overload: Overload) {
        self.metrics.count(match overload {
            Overload::Client => Outcome::TooMany,
            Overload::Server => Outcome::Busy,
        });
        if let Some(turned_away) = self.turned_away_line.count() {
            tracing::warn!(
                address = %login.client,
                waiting = state.waiting.len(),
                turned_away,
                "more logins arrive than passwords can be checked: some are turned away"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LoginQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginQueue").finish_non_exhaustive()
    }
}

impl QueueState {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn insert(&mut self, login: Login, sender: oneshot::Sender<Result<Granted, Overload>>) -> u64 {
        let arrived = self.tick();
        let new = || QueueShare {
            since: arrived,
            ..QueueShare::default()
        };
        self.clients.entry(login.client).or_insert_with(new).waiting += 1;
        let user = (login.client, login.user);
        self.users.entry(user).or_insert_with(new).waiting += 1;
        self.waiting.push(Waiting {
            login,
            arrived,
            sender,
        });
        arrived
    }

    fn remove(&mut self, index: usize) -> Waiting {
        let waiting = self.waiting.remove(index);
        let Login { client, user, .. } = waiting.login;
        release(&mut self.clients, &client);
        release(&mut self.users, &(client, user));
        waiting
    }

    /// Gives the free permits to the logins that are next.
    fn grant_permits(&mut self, concurrency: usize) {
        while self.running < concurrency
            && let Some(index) = self.next()
        {
            let Login { client, user, .. } = self.waiting[index].login;
            let now = self.tick();
            for share in [self.clients.get_mut(&client), self.users.get_mut(&(client, user))]
                .into_iter()
                .flatten()
            {
                share.since = now;
                share.served = true;
            }
            self.running += 1;
            // The receiver exists: a place leaves the queue before its receiver is dropped.
            let _ = self.remove(index).sender.send(Ok(Granted::Check));
        }
    }

    /// The index of the login that is checked next.
    fn next(&self) -> Option<usize> {
        let rank = |waiting: &Waiting| {
            let Login {
                client,
                user,
                verified_before,
                ..
            } = waiting.login;
            if verified_before {
                return (0, 0, 0, 0, waiting.arrived);
            }
            let user = &self.users[&(client, user)];
            let (served, user) = match user.served {
                false => (0, u64::MAX - user.since),
                true => (1, user.since),
            };
            (
                1,
                self.clients[&client].since,
                served,
                user,
                u64::MAX - waiting.arrived,
            )
        };
        let ranked = self.waiting.iter().enumerate();
        ranked
            .min_by_key(|(_, waiting)| rank(waiting))
            .map(|(index, _)| index)
    }

    /// The index of the login that leaves a full queue: of the address with the most logins, and of its user with the
    /// most logins, the oldest one.
    fn login_to_evict(&self) -> Option<usize> {
        let weight = |waiting: &Waiting| {
            let Login {
                client,
                user,
                verified_before,
                ..
            } = waiting.login;
            let share = self.clients[&client].waiting;
            (
                !verified_before,
                share,
                self.users[&(client, user)].waiting,
                Reverse(waiting.arrived),
            )
        };
        let weighed = self.waiting.iter().enumerate();
        weighed
            .max_by_key(|(_, waiting)| weight(waiting))
            .map(|(index, _)| index)
    }

    /// The reason for turning this login away.
    fn overload(&self, login: &Login) -> Overload {
        match self.clients.get(&login.client).map_or(0, |share| share.waiting) {
            0 | 1 => Overload::Server,
            _ => Overload::Client,
        }
    }
}

/// Removes one waiting login from a share, and the share with its last login.
fn release<K: std::hash::Hash + Eq>(shares: &mut HashMap<K, QueueShare>, key: &K) {
    if let Some(share) = shares.get_mut(key) {
        share.waiting -= 1;
        if share.waiting == 0 {
            shares.remove(key);
        }
    }
}

/// A place in the queue.
struct Place {
    queue: Arc<LoginQueue>,
    arrived: u64,
    /// `None` once the place has become a permit.
    receiver: Option<oneshot::Receiver<Result<Granted, Overload>>>,
}

impl Place {
    fn receiver(&mut self) -> &mut oneshot::Receiver<Result<Granted, Overload>> {
        self.receiver
            .as_mut()
            .expect("the receiver is taken by `into_permit` alone, which consumes the place")
    }

    fn into_permit(mut self) -> Permit {
        self.receiver = None;
        Permit(Arc::clone(&self.queue))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let mut state = self.queue.lock();
        let waits = |waiting: &Waiting| waiting.arrived == self.arrived;
        if let Some(index) = state.waiting.iter().position(waits) {
            state.remove(index);
            self.queue.metrics.waiting(state.waiting.len());
        } else if matches!(receiver.try_recv(), Ok(Ok(Granted::Check))) {
            drop(state);
            // A permit that was sent and never received.
            drop(Permit(Arc::clone(&self.queue)));
        }
    }
}

/// The permit to check one password. Dropping it passes the permit on to the next login.
pub(super) struct Permit(Arc<LoginQueue>);

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        state.grant_permits(self.0.concurrency);
        self.0.metrics.waiting(state.waiting.len());
    }
}

#[cfg(test)]
mod tests;
