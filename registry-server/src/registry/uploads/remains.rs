//! The objects of an upload session in the store: their age, and their removal.

use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use registry_oci::{RepositoryName, UploadId};

use crate::registry::{Error, Registry};
use crate::storage::layout::PathPrefix;
use crate::storage::{Durability, EntryKind, StorageKey};

impl Registry {
    /// Removes all objects of a session.
    pub(in crate::registry) async fn remove_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<(), Error> {
        let area = PathPrefix::Upload(repository, id).key();
        self.driver
            .delete_tree(&area, Durability::Crash)
            .await
            .map_err(Error::storage("delete an upload"))
    }

    /// Whether no object of a session was written within `age`.
    pub(in crate::registry) async fn is_abandoned(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        age: Duration,
    ) -> Result<bool, Error> {
        let newest = self.newest(PathPrefix::Upload(repository, id).key()).await?;
        Ok(newest.is_some_and(|newest| is_old(newest, age)))
    }

    /// When the last object below a prefix was written.
    async fn newest(&self, prefix: StorageKey) -> Result<Option<SystemTime>, Error> {
        let failed = Error::storage("look at the age of an upload");
        let mut newest = None;
        let mut pending = vec![prefix];
        while let Some(prefix) = pending.pop() {
            let mut listing = self.driver.list(&prefix).await.map_err(&failed)?;
            while let Some(entry) = listing.try_next().await.map_err(&failed)? {
                let key = prefix
                    .child(&entry.name)
                    .map_err(crate::storage::Error::from)
                    .map_err(&failed)?;
                match entry.kind {
                    EntryKind::Prefix => pending.push(key),
                    EntryKind::Object => {
                        let found = self.driver.try_stat(&key).await.map_err(&failed)?;
                        newest = newest.max(found.map(|found| found.modified));
                    }
                }
            }
        }
        Ok(newest)
    }
}

/// Whether a time is at least `age` ago. A time in the future is not: clocks differ.
pub(in crate::registry) fn is_old(modified: SystemTime, age: Duration) -> bool {
    SystemTime::now()
        .duration_since(modified)
        .is_ok_and(|elapsed| elapsed >= age)
}
