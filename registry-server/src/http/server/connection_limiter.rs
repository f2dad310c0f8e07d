//! The limits on connections, of all clients together and of each.
//!
//! Guarantees: there are never more connections than the limit; an idle connection is closed before a new one has to
//! wait, the longest idle one first; one client cannot have all connections.
//! Must not: touch a connection. Each has a [`ConnectionGuard`], which tells it when it has to close.
//! Start at [`ConnectionLimiter::wait_for_room`] and [`ConnectionLimiter::admit`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::connection_metrics::ConnectionMetrics;
use crate::client_key::ClientKey;
use registry_config::cidr::Cidr;

/// The limits.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The most connections of all clients together.
    pub all: usize,
    /// The most connections of one address. An IPv6 network of 64 bits counts as one address, because a client in it
    /// can use as many as it likes.
    pub per_client: usize,
    /// Proxies. Their connections belong to many clients and are not counted by address, nor are those of this machine.
    pub proxies: Vec<Cidr>,
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

/// The limiter of one listener. A clone is another handle of the same limiter.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    table: Mutex<ConnectionTable>,
    /// Notified when a connection ended or became idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct ConnectionTable {
    open: usize,
    /// Connections that were requested to close and are still open.
    closing: usize,
    next_number: u64,
    /// Connections without a request, in the order in which they became idle.
    idle: BTreeMap<u64, Arc<Entry>>,
    clients: HashMap<ClientKey, ClientConnections>,
}

#[derive(Debug, Default)]
struct ClientConnections {
    open: usize,
    /// Their numbers in [`ConnectionTable::idle`].
    idle: BTreeSet<u64>,
}

/// One connection.
#[derive(Debug)]
struct Entry {
    /// `None` for a connection that is not counted by client.
    client: Option<ClientKey>,
    close: Notify,
    status: Mutex<Status>,
}

#[derive(Debug, Default)]
struct Status {
    requests: usize,
    /// Its number in [`ConnectionTable::idle`], while it is idle.
    idle_number: Option<u64>,
    close_requested: bool,
}

impl ConnectionLimiter {
    pub(super) fn new(limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        Self(Arc::new(Shared {
            limits,
            metrics,
            table: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    fn table(&self) -> MutexGuard<'_, ConnectionTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more connection. Closes an idle connection to make room.
    pub(super) async fn wait_for_room(&self) {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on a notification is received, even one that is sent before the wait below.
            changed.as_mut().enable();
            {
                let mut table = self.table();
                if table.open < self.0.limits.all {
                    return;
                }
                // One connection at a time, because each makes room for one.
                if table.closing == 0 {
                    match table.close_idle(None) {
                        true => self.0.metrics.idle_closed(),
                        false => self.0.metrics.full(),
                    }
                }
            }
            changed.await;
        }
    }

    /// Closes the longest idle connection, for a process that has no more files. Returns whether there was one.
    pub(super) fn close_idle(&self) -> bool {
        let closed = self.table().close_idle(None);
        if closed {
            self.0.metrics.idle_closed();
        }
        closed
    }

    /// Counts an accepted connection. Returns `None` when its client has as many connections as it may, all in use.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Option<ConnectionGuard> {
        let client = address
            .filter(|address| !address.is_loopback())
            .filter(|address| !Cidr::any_contains(&self.0.limits.proxies, *address))
            .map(|address| ClientKey::from(Some(address)));
        let mut table = self.table();
        if let Some(client) = client
            && table
                .clients
                .get(&client)
                .is_some_and(|connections| connections.open >= self.0.limits.per_client)
        {
            if !table.close_idle(Some(client)) {
                self.0.metrics.client_refused(client);
                return None;
            }
            self.0.metrics.idle_closed();
        }
        table.open += 1;
        if let Some(client) = client {
            table.clients.entry(client).or_default().open += 1;
        }
        let entry = Arc::new(Entry {
            client,
            close: Notify::new(),
            status: Mutex::default(),
        });
        // A connection without a request yet is idle, too.
        table.add_idle(&entry);
        drop(table);
        self.0.metrics.opened();
        Some(ConnectionGuard {
            limiter: self.clone(),
            entry,
        })
    }
}

impl ConnectionTable {
    fn add_idle(&mut self, entry: &Arc<Entry>) {
        let mut status = entry.status();
        if status.close_requested {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        status.idle_number = Some(number);
        self.idle.insert(number, Arc::clone(entry));
        if let Some(client) = entry.client {
            self.clients.entry(client).or_default().idle.insert(number);
        }
    }

    fn remove_idle(&mut self, entry: &Entry) {
        if let Some(number) = entry.status().idle_number.take() {
            self.idle.remove(&number);
            if let Some(client) = entry.client.and_then(|client| self.clients.get_mut(&client)) {
                client.idle.remove(&number);
            }
        }
    }

    /// Requests the longest idle connection to close, of all clients or of one. Returns whether there was one.
    fn close_idle(&mut self, client: Option<ClientKey>) -> bool {
        let number = match client {
            Some(client) => self.clients.get(&client).and_then(|of| of.idle.first()),
            None => self.idle.keys().next(),
        };
        let Some(entry) = number.and_then(|number| self.idle.get(number)).cloned() else {
            return false;
        };
        self.remove_idle(&entry);
        entry.status().close_requested = true;
        self.closing += 1;
        entry.close.notify_one();
        true
    }
}

impl Entry {
    /// Locked after the table wherever both are, so that two threads never wait for each other.
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An admitted connection. Dropping it makes room for another one.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    limiter: ConnectionLimiter,
    entry: Arc<Entry>,
}

impl ConnectionGuard {
    /// Waits until the connection has to close. It is requested to close only while it is idle.
    pub(super) async fn close_requested(&self) {
        loop {
            self.entry.close.notified().await;
            let mut table = self.limiter.table();
            let mut status = self.entry.status();
            if status.requests == 0 {
                return;
            }
            // A request arrived in between. It is answered, and another connection has to close.
            status.close_requested = false;
            table.closing = table.closing.saturating_sub(1);
            drop((status, table));
            self.limiter.0.changed.notify_waiters();
        }
    }

    /// Begins a request. The connection is in use until the returned value is dropped.
    pub(super) fn begin_request(&self) -> ActiveRequest {
        let mut table = self.limiter.table();
        table.remove_idle(&self.entry);
        self.entry.status().requests += 1;
        drop(table);
        ActiveRequest {
            limiter: self.limiter.clone(),
            entry: Arc::clone(&self.entry),
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut table = self.limiter.table();
        table.remove_idle(&self.entry);
        table.open -= 1;
        if std::mem::replace(&mut self.entry.status().close_requested, true) {
            table.closing = table.closing.saturating_sub(1);
        }
        if let Some(client) = self.entry.client
            && let Some(connections) = table.clients.get_mut(&client)
        {
            connections.open -= 1;
            if connections.open == 0 {
                table.clients.remove(&client);
            }
        }
        drop(table);
        self.limiter.0.metrics.closed();
        self.limiter.0.changed.notify_waiters();
    }
}

/// A request that is being answered. Its connection is in use until this is dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    limiter: ConnectionLimiter,
    entry: Arc<Entry>,
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut table = self.limiter.table();
        let mut status = self.entry.status();
        status.requests -= 1;
        let is_idle = status.requests == 0;
        drop(status);
        if !is_idle {
            return;
        }
        table.add_idle(&self.entry);
        let is_full = table.open >= self.limiter.0.limits.all;
        drop(table);
        if is_full {
            self.limiter.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
