//! The owner of a store: a marker that the first server of a registry writes, and that all other servers look for.
//!
//! Two registries on one store would serve, delete and collect each other's content, and neither would notice. All
//! servers of one registry are configured with one name, and servers of another registry with another name. A server
//! without a name takes no part in this. The marker is written once and only removed by hand.
//!
//! Some stores cannot create an object on the condition that there is none. On such a store, two registries that start
//! in the same moment may both find their own marker. The one that wrote last is the owner, and the other one is
//! refused at its next start.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, Registry};
use crate::fault::Fault;
use crate::storage::layout::ObjectPath;
use crate::storage::{self, Durability, Mode};

/// A marker is never this large.
const MARKER_MAX: u64 = 64 * 1024;

/// The marker of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OwnerMarker {
    /// The name that is configured.
    owner: String,
    since: Timestamp,
    /// The machine, container or Pod that wrote it, for people.
    #[serde(default)]
    host: String,
}

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The store had this owner before.
    Known,
    /// The store has this owner now.
    New,
    /// The store has no owner, and this read-only server writes no marker.
    Unclaimed,
}

/// Why a store may not be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The store belongs to another registry.
    #[error(
        "the storage belongs to `{owner}` since {since}{}, and this server is configured as `{wanted}`",
        ClaimedBy(host)
    )]
    Other {
        /// The name of the owner.
        owner: String,
        /// When the marker was written.
        since: Timestamp,
        /// The machine that wrote it; empty when that is not known.
        host: String,
        /// The name that this server is configured with.
        wanted: String,
    },
    /// There is a marker that cannot be read.
    #[error("the storage has an owner, but its marker `{}` cannot be read", ObjectPath::Owner.key())]
    Unreadable,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

struct ClaimedBy<'a>(&'a str);

impl fmt::Display for ClaimedBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            host => write!(f, " (claimed by {host})"),
        }
    }
}

impl OwnerError {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Other { .. } => Fault::Caller,
            Self::Unreadable => Fault::Permanent,
            Self::Store(error) => error.fault(),
        }
    }

    /// A way out, for people.
    pub fn hint(&self) -> Option<String> {
        let key = ObjectPath::Owner.key();
        match self {
            Self::Other { owner, .. } => Some(format!(
                "give this registry a root directory, prefix or volume of its own; if `{owner}` is no more and its \
                 content is to be served here, remove `{key}` from the storage, or set `storage.maintenance.owner` to \
                 `{owner}`"
            )),
            Self::Unreadable => Some(format!(
                "look what wrote `{key}`; if the content is this registry's, remove it from the storage"
            )),
            Self::Store(_) => None,
        }
    }
}

impl Registry {
    /// Claims a store for an owner, unless it has another one. A read-only registry looks and writes nothing.
    ///
    /// # Errors
    /// [`OwnerError::Other`], [`OwnerError::Unreadable`], or the store's.
    pub async fn claim(&self, owner: &str) -> Result<Claim, OwnerError> {
        if self.check_owner(owner).await? {
            return Ok(Claim::Known);
        }
        if self.settings.read_only {
            return Ok(Claim::Unclaimed);
        }
        let marker = OwnerMarker {
            owner: owner.to_owned(),
            since: Timestamp::now(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let bytes = serde_json::to_vec(&marker).expect("a marker has string keys only and is always JSON");
        let (key, bytes) = (ObjectPath::Owner.key(), Bytes::from(bytes));
        match self
            .driver
            .put(&key, bytes, Mode::Create, Durability::PowerLoss)
            .await
        {
            Ok(()) | Err(storage::Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(Error::storage("claim the storage")(source).into()),
        }
        // Another server may have been faster; or it was later, and the store replaced the marker.
        match self.check_owner(owner).await? {
            true => Ok(Claim::New),
            // Somebody removed the marker in this moment.
            false => Err(OwnerError::Unreadable),
        }
    }

    /// Whether a store has an owner, which must be `wanted`.
    ///
    /// # Errors
    /// [`OwnerError::Other`], [`OwnerError::Unreadable`], or the store's.
    pub async fn check_owner(&self, wanted: &str) -> Result<bool, OwnerError> {
        let bytes = match self.driver.get(&ObjectPath::Owner.key(), MARKER_MAX).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(storage::Error::TooLarge { .. }) => return Err(OwnerError::Unreadable),
            Err(source) => return Err(Error::storage("read the owner of the storage")(source).into()),
        };
        let OwnerMarker { owner, since, host } =
            serde_json::from_slice(&bytes).map_err(|_| OwnerError::Unreadable)?;
        if owner == wanted {
            return Ok(true);
        }
        Err(OwnerError::Other {
            owner,
            since,
            host,
            wanted: wanted.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::Settings;
    use super::*;
    use crate::storage::{Driver, Filesystem, FilesystemOptions, InMemory};

    /// Each test on both.
    fn stores(folder: &Path) -> [Arc<dyn Driver>; 2] {
        let filesystem = Filesystem::new(folder, &FilesystemOptions::default()).unwrap();
        [Arc::new(filesystem), Arc::new(InMemory::new())]
    }

    fn registry(driver: &Arc<dyn Driver>) -> Registry {
        Registry::new(Arc::clone(driver), Settings::default())
    }

    fn read_only(driver: &Arc<dyn Driver>) -> Registry {
        let settings = Settings {
            read_only: true,
            ..Settings::default()
        };
        Registry::new(Arc::clone(driver), settings)
    }

    #[tokio::test]
    async fn the_first_is_the_owner_its_replicas_go_on_and_another_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        for driver in stores(folder.path()) {
            let registry = registry(&driver);
            assert_eq!(registry.claim("ci/main").await.unwrap(), Claim::New);
            for _ in 0..3 {
                assert_eq!(registry.claim("ci/main").await.unwrap(), Claim::Known);
            }
            let error = registry.claim("qa/other").await.unwrap_err();
            assert_eq!(error.fault(), Fault::Caller);
            let OwnerError::Other { since, host, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(
                error.to_string(),
                format!(
                    "the storage belongs to `ci/main` since {since} (claimed by {host}), and this server is configured \
                     as `qa/other`"
                )
            );
            let hint = error.hint().unwrap();
            assert!(
                hint.contains("remove `docker/registry/berth/v1/owner`")
                    && hint.contains("`storage.maintenance.owner` to `ci/main`"),
                "{hint}"
            );
            // The way out.
            driver.delete(&ObjectPath::Owner.key()).await.unwrap();
            assert_eq!(registry.claim("qa/other").await.unwrap(), Claim::New);
            registry.claim("ci/main").await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_read_only_server_looks_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for driver in stores(folder.path()) {
            let reader = read_only(&driver);
            assert_eq!(reader.claim("ci/main").await.unwrap(), Claim::Unclaimed);
            assert!(
                driver
                    .stat(&ObjectPath::Owner.key())
                    .await
                    .unwrap_err()
                    .is_not_found()
            );
            registry(&driver).claim("ci/main").await.unwrap();
            assert_eq!(reader.claim("ci/main").await.unwrap(), Claim::Known);
            reader.claim("qa/other").await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn of_many_that_start_at_once_all_of_one_registry_start() {
        let folder = tempfile::tempdir().unwrap();
        for driver in stores(folder.path()) {
            let claims = (0..40).map(|number| {
                let registry = registry(&driver);
                let owner = if number % 2 == 0 { "ci/main" } else { "qa/other" };
                tokio::spawn(async move { (owner, registry.claim(owner).await.is_ok()) })
            });
            let mut started = Vec::new();
            for claim in claims.collect::<Vec<_>>() {
                let (owner, ok) = claim.await.unwrap();
                if ok {
                    started.push(owner);
                }
            }
            assert_eq!(started.len(), 20, "{started:?}");
            assert!(started.iter().all(|owner| *owner == started[0]), "{started:?}");
        }
    }

    #[tokio::test]
    async fn a_marker_that_says_nothing_is_nobodys_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for driver in stores(folder.path()) {
            let key = ObjectPath::Owner.key();
            let put = |text| driver.put(&key, Bytes::from(text), Mode::Replace, Durability::Crash);
            for text in ["", "{", "{\"owner\": 1}", "[]"] {
                put(text).await.unwrap();
                let error = registry(&driver).claim("ci/main").await.unwrap_err();
                assert_eq!(error.fault(), Fault::Permanent, "{text}: {error}");
                assert!(error.hint().is_some());
            }
            // A later version may know more.
            let text = "{\"owner\": \"ci/main\", \"since\": \"2026-01-01T00:00:00Z\", \"more\": [1]}";
            put(text).await.unwrap();
            assert_eq!(registry(&driver).claim("ci/main").await.unwrap(), Claim::Known);
        }
    }
}
