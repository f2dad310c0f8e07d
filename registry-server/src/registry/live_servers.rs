//! The servers that write to a store. Each of them writes a heartbeat object there again and again.
//!
//! A garbage collection looks for heartbeats before it removes anything. A heartbeat is a warning for people and no
//! lock: a server that cannot reach its store for longer than [`STALE_AFTER`] looks gone, and a server of distribution
//! has no heartbeat at all.
//! Ages are measured by the store's clock alone: an object that was just written has the time of that clock.

pub(super) mod heartbeat;

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, Registry};
use crate::storage::layout::{self, ObjectPath, PathPrefix};
use crate::storage::{Condition, Durability, Mode, OptionalExtension as _, StorageKey};

/// How often a server writes its heartbeat.
const INTERVAL: Duration = Duration::from_secs(30);

/// A server whose heartbeat is older than this is gone.
const STALE_AFTER: Duration = Duration::from_secs(3 * INTERVAL.as_secs());

/// A probe exists for a few requests. An older one was left by a process that was killed.
const PROBE_MAX: Duration = Duration::from_secs(3600);

/// A heartbeat is never this large.
const HEARTBEAT_MAX: u64 = 16 * 1024;

/// A server that writes to the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveServer {
    #[serde(skip)]
    id: Uuid,
    /// The machine, container or Pod it runs on.
    pub host: String,
    /// Its process id there.
    pub process: u32,
    /// When it started.
    pub started: Timestamp,
    /// Whether it only copies another store into this one. Such a process blocks a collection, and no other copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copying: bool,
}

impl LiveServer {
    /// This process.
    pub fn this_process() -> Self {
        Self {
            id: Uuid::new_v4(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            process: std::process::id(),
            started: Timestamp::now(),
            copying: false,
        }
    }

    /// This process, which copies another store into this one.
    pub fn copying_process() -> Self {
        Self {
            copying: true,
            ..Self::this_process()
        }
    }

    fn path(&self) -> ObjectPath {
        ObjectPath::Writer { id: self.id }
    }
}

/// A server whose heartbeat was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenServer {
    /// The server; nothing when its heartbeat cannot be read.
    pub server: Option<LiveServer>,
    /// How long ago the heartbeat was written.
    pub ago: Duration,
}

/// The policy of a maintenance run when a live server writes to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveServerPolicy {
    /// It does not start.
    Refuse,
    /// It runs all the same.
    Ignore,
}

impl Registry {
    /// Writes the heartbeat of a server; to be repeated every 30 seconds.
    ///
    /// # Errors
    /// The store's.
    pub async fn announce(&self, server: &LiveServer) -> Result<(), Error> {
        let bytes = serde_json::to_vec(server).expect("a server has string keys only and is always JSON");
        self.driver
            .put(
                &server.path().key(),
                Bytes::from(bytes),
                Mode::Replace,
                Durability::Crash,
            )
            .await
            .map_err(Error::storage("announce this server to the store"))
    }

    /// Removes the heartbeat of a server.
    ///
    /// # Errors
    /// The store's.
    pub async fn withdraw(&self, server: &LiveServer) -> Result<(), Error> {
        let removed = self.driver.delete(&server.path().key()).await.optional();
        removed
            .map(drop)
            .map_err(Error::storage("withdraw this server from the store"))
    }

    /// The time by the store's clock. Probes that killed processes left are removed on the way.
    pub(super) async fn store_time(&self) -> Result<SystemTime, Error> {
        let failed = Error::storage("ask the store for its time");
        let found = self.probe(async |key| self.driver.stat(key).await).await?;
        let now = found.map_err(failed)?.modified;
        self.remove_probes(now - PROBE_MAX).await?;
        Ok(now)
    }

    /// Removes probes that are older than a time of the store's clock.
    async fn remove_probes(&self, limit: SystemTime) -> Result<(), Error> {
        let failed = Error::storage("remove old probes");
        let mut listing = self
            .driver
            .list(&PathPrefix::Probes.key())
            .await
            .map_err(&failed)?;
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            let Some(id) = layout::run(&entry.name) else {
                continue;
            };
            let path = ObjectPath::Probe { id };
            let old = Condition::Older(limit);
            self.driver
                .delete_if(&path.key(), &old, &path.prune_root(), Durability::Crash)
                .await
                .optional()
                .map_err(&failed)?;
        }
        Ok(())
    }

    /// Whether another registry is on the same store, however it reaches the store.
    pub(super) async fn shares_store_with(&self, other: &Self) -> Result<bool, Error> {
        let found = self.probe(async |key| other.driver.try_stat(key).await).await?;
        Ok(found.map_err(Error::storage("compare two stores"))?.is_some())
    }

    /// Writes an object that nobody else knows, calls `look` while it exists, and removes it.
    async fn probe<T>(&self, look: impl AsyncFnOnce(&StorageKey) -> T) -> Result<T, Error> {
        let failed = Error::storage("write to the store");
        let path = ObjectPath::Probe { id: Uuid::new_v4() };
        let key = path.key();
        self.driver
            .put(&key, Bytes::new(), Mode::Create, Durability::Crash)
            .await
            .map_err(&failed)?;
        let found = look(&key).await;
        // With the folders that were created for it.
        let (ours, prune_root) = (Condition::Holds(Bytes::new()), path.prune_root());
        self.driver
            .delete_if(&key, &ours, &prune_root, Durability::Crash)
            .await
            .map_err(&failed)?;
        Ok(found)
    }

    /// The servers that write to the store, at a time of its clock. The heartbeats of servers that are gone are
    /// removed.
    pub(super) async fn live_servers(&self, now: SystemTime) -> Result<Vec<SeenServer>, Error> {
        let failed = Error::storage("look for live servers");
        let mut listing = self
            .driver
            .list(&PathPrefix::Writers.key())
            .await
            .map_err(&failed)?;
        let mut seen = Vec::new();
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            let Some(id) = layout::run(&entry.name) else {
                continue;
            };
            let path = ObjectPath::Writer { id };
            let key = path.key();
            let heartbeat = async {
                let metadata = self.driver.stat(&key).await?;
                Ok((metadata, self.driver.get(&key, HEARTBEAT_MAX).await?))
            };
            let (metadata, bytes) = match heartbeat.await {
                Ok(found) => found,
                // It stopped just now.
                Err(error) if crate::storage::Error::is_not_found(&error) => continue,
                Err(source) => return Err(failed(source)),
            };
            // A heartbeat that is younger than `now` was written in the meantime.
            let ago = now.duration_since(metadata.modified).unwrap_or_default();
            if ago <= STALE_AFTER {
                let server = serde_json::from_slice(&bytes).ok();
                let server = server.map(|server| LiveServer { id, ..server });
                seen.push(SeenServer { server, ago });
                continue;
            }
            // Unless the server writes it in this moment.
            let silent = Condition::Older(now - STALE_AFTER);
            self.driver
                .delete_if(&key, &silent, &path.prune_root(), Durability::Crash)
                .await
                .optional()
                .map_err(&failed)?;
        }
        Ok(seen)
    }
}

/// A list of servers for the text of an error.
pub(super) struct ServerList<'a>(pub(super) &'a [SeenServer]);

impl fmt::Display for ServerList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, SeenServer { server, ago }) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            let ago = ago.as_secs();
            match server {
                Some(server) => write!(
                    f,
                    "{separator}process {} on {} (last seen {ago} s ago)",
                    server.process, server.host
                )?,
                None => write!(f, "{separator}an unknown server (last seen {ago} s ago)")?,
            }
        }
        f.write_str(if self.0.len() == 1 { " writes" } else { " write" })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::registry::tests::content::{keys, path};
    use crate::registry::tests::in_folder;

    #[tokio::test]
    async fn a_probe_leaves_nothing_and_removes_what_killed_processes_left() {
        let folder = tempfile::tempdir().unwrap();
        let registry = in_folder(folder.path());
        let left = async |ago: Duration| {
            let probe = ObjectPath::Probe { id: Uuid::new_v4() };
            registry
                .driver
                .put(&probe.key(), Bytes::new(), Mode::Create, Durability::Crash)
                .await
                .unwrap();
            let file = File::options()
                .write(true)
                .open(path(folder.path(), &probe))
                .unwrap();
            file.set_modified(SystemTime::now() - ago).unwrap();
            probe.key().to_string()
        };
        left(PROBE_MAX * 2).await;
        // Somebody may be looking this moment.
        let young = left(PROBE_MAX / 2).await;
        registry.store_time().await.unwrap();
        assert_eq!(keys(registry.driver()).await, [young]);
        registry
            .remove_probes(SystemTime::now() + PROBE_MAX)
            .await
            .unwrap();
        assert!(
            !folder.path().join("docker/registry/berth").exists(),
            "a folder stays"
        );
    }
}
