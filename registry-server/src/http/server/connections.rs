//! How many connections there are, whose they are, and which of them may be closed to make room.
//!
//! Guarantees: never more connections than the limit; one that waits for its next request is closed before anybody is
//! kept waiting, the one that waits longest first; one address cannot have all of them.
//! Must not: touch a connection. Each is told by its [`Ticket`] that it has to end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::connection_metrics::ConnectionMetrics;
use crate::client_key::ClientKey;
use crate::http::Network;

/// How many connections are let in.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// In all.
    pub all: usize,
    /// From one address. An IPv6 network of 64 bits is one: a client has as many addresses in it as it likes.
    pub per_client: usize,
    /// Proxies, whose connections are those of many clients. This machine's are not counted either.
    pub proxies: Vec<Network>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            all: usize::MAX,
            per_client: usize::MAX,
            proxies: Vec::new(),
        }
    }
}

/// The connections of one listener. A clone is another handle of the same ones.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    state: Mutex<State>,
    /// A connection ended or became idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Told to end and not gone yet.
    ending: usize,
    next: u64,
    /// Those that wait for a request, in the order in which they began to.
    idle: BTreeMap<u64, Arc<Entry>>,
    clients: HashMap<ClientKey, OfClient>,
}

#[derive(Debug, Default)]
struct OfClient {
    open: usize,
    /// Their places in [`State::idle`].
    idle: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    /// Nothing where connections are not counted by client.
    client: Option<ClientKey>,
    end: Notify,
    state: Mutex<EntryState>,
}

#[derive(Debug, Default)]
struct EntryState {
    requests: usize,
    /// The place among the idle ones.
    place: Option<u64>,
    told: bool,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        Self(Arc::new(Shared {
            limits,
            metrics,
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more, closing an idle one for it if there is any.
    pub(super) async fn room(&self) {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Heard from here on, also what happens before it is waited for.
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.open < self.0.limits.all {
                    return;
                }
                // One after the other: each makes room for one.
                if state.ending == 0 {
                    match state.end_idle(None) {
                        true => self.0.metrics.idle_closed(),
                        false => self.0.metrics.full(),
                    }
                }
            }
            changed.await;
        }
    }

    /// Closes the connection that is idle for longest, where the system has no more files; whether there was one.
    pub(super) fn end_idle(&self) -> bool {
        let ended = self.state().end_idle(None);
        if ended {
            self.0.metrics.idle_closed();
        }
        ended
    }

    /// Counts a connection that was accepted; nothing when its client has as many as it may and all are in use.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Option<Ticket> {
        let client = address
            .filter(|address| !address.is_loopback())
            .filter(|address| !Network::any_contains(&self.0.limits.proxies, *address))
            .map(|address| ClientKey::from(Some(address)));
        let mut state = self.state();
        if let Some(client) = client
            && state
                .clients
                .get(&client)
                .is_some_and(|of| of.open >= self.0.limits.per_client)
        {
            if !state.end_idle(Some(client)) {
                self.0.metrics.client_refused(client);
                return None;
            }
            self.0.metrics.idle_closed();
        }
        state.open += 1;
        if let Some(client) = client {
            state.clients.entry(client).or_default().open += 1;
        }
        let entry = Arc::new(Entry {
            client,
            end: Notify::new(),
            state: Mutex::default(),
        });
        // Until it asks for something it is as idle as one that will not ask again.
        state.add_idle(&entry);
        drop(state);
        self.0.metrics.opened();
        Some(Ticket {
            connections: self.clone(),
            entry,
        })
    }
}

impl State {
    fn add_idle(&mut self, entry: &Arc<Entry>) {
        let mut of_entry = entry.state.lock().unwrap_or_else(PoisonError::into_inner);
        if of_entry.told {
            return;
        }
        let place = self.next;
        self.next += 1;
        of_entry.place = Some(place);
        self.idle.insert(place, Arc::clone(entry));
        if let Some(client) = entry.client {
            self.clients.entry(client).or_default().idle.insert(place);
        }
    }

    fn remove_idle(&mut self, entry: &Entry) {
        let mut of_entry = entry.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = of_entry.place.take() {
            self.idle.remove(&place);
            if let Some(client) = entry.client.and_then(|client| self.clients.get_mut(&client)) {
                client.idle.remove(&place);
            }
        }
    }

    /// Tells the one that is idle for longest to end, of all or of one client.
    fn end_idle(&mut self, client: Option<ClientKey>) -> bool {
        let place = match client {
            Some(client) => self.clients.get(&client).and_then(|of| of.idle.first()),
            None => self.idle.keys().next(),
        };
        let Some(entry) = place.and_then(|place| self.idle.get(place)).cloned() else {
            return false;
        };
        self.remove_idle(&entry);
        entry.state.lock().unwrap_or_else(PoisonError::into_inner).told = true;
        self.ending += 1;
        entry.end.notify_one();
        true
    }
}

/// A connection's place. Dropping it makes room.
#[derive(Debug)]
pub(super) struct Ticket {
    connections: Connections,
    entry: Arc<Entry>,
}

impl Ticket {
    /// Waits until the connection is told to end, which happens only while it is idle.
    pub(super) async fn told_to_end(&self) {
        loop {
            self.entry.end.notified().await;
            let mut state = self.connections.state();
            let mut of_entry = self.entry.state.lock().unwrap_or_else(PoisonError::into_inner);
            if of_entry.requests == 0 {
                return;
            }
            // A request arrived meanwhile: it is answered, and another connection has to end.
            of_entry.told = false;
            state.ending = state.ending.saturating_sub(1);
            drop((of_entry, state));
            self.connections.0.changed.notify_waiters();
        }
    }

    /// A request begins. The connection is in use until what this gives is dropped.
    pub(super) fn begin(&self) -> InUse {
        let mut state = self.connections.state();
        state.remove_idle(&self.entry);
        let mut of_entry = self.entry.state.lock().unwrap_or_else(PoisonError::into_inner);
        of_entry.requests += 1;
        drop((of_entry, state));
        InUse {
            connections: self.connections.clone(),
            entry: Arc::clone(&self.entry),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        state.remove_idle(&self.entry);
        state.open -= 1;
        let mut of_entry = self.entry.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut of_entry.told, true) {
            state.ending = state.ending.saturating_sub(1);
        }
        drop(of_entry);
        if let Some(client) = self.entry.client
            && let Some(of) = state.clients.get_mut(&client)
        {
            of.open -= 1;
            if of.open == 0 {
                state.clients.remove(&client);
            }
        }
        drop(state);
        self.connections.0.metrics.closed();
        self.connections.0.changed.notify_waiters();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InUse {
    connections: Connections,
    entry: Arc<Entry>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        let mut of_entry = self.entry.state.lock().unwrap_or_else(PoisonError::into_inner);
        of_entry.requests -= 1;
        let idle = of_entry.requests == 0;
        drop(of_entry);
        if !idle {
            return;
        }
        state.add_idle(&self.entry);
        let full = state.open >= self.connections.0.limits.all;
        drop(state);
        if full {
            self.connections.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
