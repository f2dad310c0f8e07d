//! Who may occupy a core with bcrypt next.
//!
//! Guarantees: a turn is given to the addresses in rotation, so that a storm from one of them keeps nobody at another
//! waiting longer than one check for each address that waits; the number of waiting logins is bounded, and the login that
//! has to go is one of the address that has most of them; none waits longer than its patience; a login that is dropped
//! gives up its place or its turn at once.
//! Must not: read a body, or know whether a password is right.
//!
//! Within one address, which is all there is behind a proxy that is not trusted, users take turns, those who were not
//! served yet first, and of them the newest: a client that has just come still waits for its answer, which the oldest of a
//! storm may not. The same holds for the logins of one user. Credentials that were right before go ahead of all: nobody
//! who does not know the password can send them. docs/adr/0022.
//!
//! Start at [`LoginQueue::turn`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::credential_cache::Fingerprint;
use super::metrics::{LoginMetrics, Outcome};
use crate::client_key::ClientKey;
use crate::telemetry::LogThrottle;

/// How many logins may wait. Each holds its request without its body, and what its client sent of the body meanwhile.
const WAITING_MAX: usize = 256;
/// How long a login may wait for its turn. Docker gives up after 15 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// A login that has to be checked.
#[derive(Clone, Copy)]
pub(super) struct Login {
    pub(super) client: ClientKey,
    /// A hash of the user's name, whether there is such a user or not.
    pub(super) user: u64,
    pub(super) fingerprint: Fingerprint,
    /// Whether these credentials were right before.
    pub(super) known: bool,
}

/// What waiting came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// The caller may check one password.
    Check(Permit),
    /// The same credentials were found right meanwhile.
    Verified,
}

/// Why there was no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overload {
    /// Its address sends more logins than can be checked.
    Storm,
    /// Everybody together does.
    Busy,
}

/// The queue of one file of users.
pub(super) struct LoginQueue {
    /// As many checks at once as there are cores; more would only make each of them slower.
    turns: usize,
    waiting_max: usize,
    patience: Duration,
    state: Mutex<State>,
    metrics: LoginMetrics,
    /// The line about logins that are turned away.
    told: LogThrottle,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Counts arrivals and turns; the numbers order them.
    clock: u64,
    /// In the order of arrival.
    waiting: Vec<Waiting>,
    clients: HashMap<ClientKey, Share>,
    users: HashMap<(ClientKey, u64), Share>,
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

/// What an address, or a user at an address, has of the queue.
#[derive(Default)]
struct Share {
    waiting: usize,
    /// When it had its last turn, or else came.
    since: u64,
    served: bool,
}

impl LoginQueue {
    pub(super) fn new(metrics: LoginMetrics) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with(cores, WAITING_MAX, PATIENCE, metrics)
    }

    pub(super) fn with(turns: usize, waiting_max: usize, patience: Duration, metrics: LoginMetrics) -> Self {
        Self {
            turns,
            waiting_max,
            patience,
            state: Mutex::default(),
            metrics,
            told: LogThrottle::default(),
        }
    }

    /// Waits until the login may be checked. Dropping the future gives its place up.
    pub(super) async fn turn(self: &Arc<Self>, login: Login) -> Result<Turn, Overload> {
        let mut place = self.enter(login);
        let granted = match tokio::time::timeout(self.patience, place.receiver()).await {
            Ok(Ok(granted)) => granted,
            // Nobody drops a sender without having sent.
            Ok(Err(_)) => Err(Overload::Busy),
            Err(_) => Err(self.expire(&login)),
        };
        match granted {
            Ok(Granted::Check) => Ok(Turn::Check(place.into_permit())),
            Ok(Granted::Verified) => Ok(Turn::Verified),
            Err(overload) => Err(overload),
        }
    }

    /// Lets everybody go who waits with credentials that were found right.
    pub(super) fn verified(&self, fingerprint: &Fingerprint) {
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
        state.grant(self.turns);
        if state.waiting.len() > self.waiting_max
            && let Some(index) = state.heaviest()
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

    /// Counts it, and says so once in a while.
    fn turn_away(&self, state: &State, login: &Login, overload: Overload) {
        self.metrics.count(match overload {
            Overload::Storm => Outcome::TooMany,
            Overload::Busy => Outcome::Busy,
        });
        if let Some(turned_away) = self.told.count() {
            tracing::warn!(
                address = %login.client,
                waiting = state.waiting.len(),
                turned_away,
                "more logins come than passwords can be checked: some are told to come back"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LoginQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginQueue").finish_non_exhaustive()
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn insert(&mut self, login: Login, sender: oneshot::Sender<Result<Granted, Overload>>) -> u64 {
        let arrived = self.tick();
        let new = || Share {
            since: arrived,
            ..Share::default()
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

    /// Gives the turns that are free.
    fn grant(&mut self, turns: usize) {
        while self.running < turns
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
            // A place is taken out of the queue before its receiver goes.
            let _ = self.remove(index).sender.send(Ok(Granted::Check));
        }
    }

    /// Whose turn it is.
    fn next(&self) -> Option<usize> {
        let rank = |waiting: &Waiting| {
            let Login {
                client, user, known, ..
            } = waiting.login;
            if known {
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

    /// Who goes when there is no more room: of the address that has most, of the user who has most there, the oldest.
    fn heaviest(&self) -> Option<usize> {
        let weight = |waiting: &Waiting| {
            let Login {
                client, user, known, ..
            } = waiting.login;
            let share = self.clients[&client].waiting;
            (
                !known,
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

    /// Whom to blame when a login is turned away.
    fn overload(&self, login: &Login) -> Overload {
        match self.clients.get(&login.client).map_or(0, |share| share.waiting) {
            0 | 1 => Overload::Busy,
            _ => Overload::Storm,
        }
    }
}

/// Takes one waiting login off a share, and forgets the share with the last.
fn release<K: std::hash::Hash + Eq>(shares: &mut HashMap<K, Share>, key: &K) {
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
    /// Nothing once a turn was taken over.
    receiver: Option<oneshot::Receiver<Result<Granted, Overload>>>,
}

impl Place {
    fn receiver(&mut self) -> &mut oneshot::Receiver<Result<Granted, Overload>> {
        self.receiver
            .as_mut()
            .expect("it is there until a turn is taken over")
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
            // A turn that nobody took over.
            drop(Permit(Arc::clone(&self.queue)));
        }
    }
}

/// The right to check one password. Dropping it gives the turn to the next.
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
        state.grant(self.0.turns);
        self.0.metrics.waiting(state.waiting.len());
    }
}

#[cfg(test)]
mod tests;
