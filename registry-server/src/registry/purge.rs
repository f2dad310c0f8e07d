//! Removes abandoned upload sessions.
//!
//! Guarantees: the age of a session counts from the last write of its data, not from its beginning, so a slow upload is
//! not an abandoned one. A session without `startedat`, or whose id is no UUID, counts like any other. A session that a
//! request has open is never removed, whichever process that request belongs to, as far as the store's locks reach. A
//! dry run changes nothing and takes no lock. One session that cannot be removed does not stop the others. Memory: the
//! names in one folder at a time. Folders that become empty are removed too.
//! A finishing request closes the data for a moment between its last byte and publishing. It has renewed the data
//! before, and the purge looks at a session once more when nobody else can write to it.
//! Must not: follow a name that no registry gives, or remove a session without a time: an empty folder may belong to a
//! session that is just beginning, and it holds no byte.
//! Start at [`Registry::purge_uploads`].

use std::time::Duration;

use futures_util::TryStreamExt as _;
use registry_oci::{RepositoryName, UploadId};

use super::uploads::remains::is_old;
use super::walk::{RepositoryFolder, may_hold_repositories};
use super::{Error, Registry};
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::{self, EntryKind, LargeWrite, Staged, StorageKey, UnfinishedUpload};

/// The action of a purge on an abandoned session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeMode {
    /// It only counts it.
    DryRun,
    /// It removes it.
    Remove,
}

/// The report of a purge: what it found and removed.
#[derive(Debug, Default)]
pub struct PurgeReport {
    /// How many sessions were removed, or would be removed.
    pub uploads: u64,
    /// How many bytes their data had.
    pub bytes: u64,
    /// How many sessions were old enough, but a request had them open.
    pub open: u64,
    /// How many sessions or folders could not be removed or read.
    pub failed: u64,
    /// The error of the first of them. A store that stops answering fails for all in the same way.
    pub first_failure: Option<Error>,
}

impl Registry {
    /// Removes the upload sessions of all repositories whose data was last written at least `age` ago. Where only other
    /// files of a session are left, the newest of them counts.
    ///
    /// Dropping the future ends the purge between two steps. The next purge finds a session that is half removed.
    ///
    /// # Errors
    /// The store's, when repositories cannot be listed at all.
    pub async fn purge_uploads(&self, age: Duration, purge: PurgeMode) -> Result<PurgeReport, Error> {
        let mut purged = PurgeReport::default();
        let mut walk = self.walk(PathPrefix::Repositories).await?;
        while let Some(folder) = walk.next().await {
            let folder = match folder {
                Ok(folder) => folder,
                Err(error) => {
                    purged.failed(error);
                    continue;
                }
            };
            // A folder that no registry can have written stays.
            if folder.uploads
                && let Some(repository) = folder.repository()
                && let Err(error) = self.purge_repository(&repository, age, purge, &mut purged).await
            {
                purged.failed(error);
            }
            if purge == PurgeMode::Remove
                && let Err(error) = self.prune_folder(&folder).await
            {
                purged.failed(error);
            }
        }
        if let Err(error) = self.purge_parts(age, purge, &mut purged).await {
            purged.failed(error);
        }
        Ok(purged)
    }

    /// Removes a folder in which only the folder of uploads is left, and the empty folders above it. Anybody who may
    /// push can create a hundred of them with one request, and every list of repositories walks through all of them.
    async fn prune_folder(&self, folder: &RepositoryFolder) -> Result<(), Error> {
        if folder.manifests || folder.layers || !may_hold_repositories(&folder.name) {
            return Ok(());
        }
        let prefix = match (folder.repository(), &folder.key) {
            (Some(repository), _) if folder.uploads => PathPrefix::Uploads(&repository).key(),
            (_, Some(key)) if folder.is_empty => key.clone(),
            (_, _) => return Ok(()),
        };
        let pruned = self.driver.prune(&prefix, &PathPrefix::Repositories.key()).await;
        pruned.map(drop).map_err(Error::storage("remove empty folders"))
    }

    async fn purge_repository(
        &self,
        repository: &RepositoryName,
        age: Duration,
        purge: PurgeMode,
        purged: &mut PurgeReport,
    ) -> Result<(), Error> {
        let failed = Error::storage("list the uploads of a repository");
        let area = PathPrefix::Uploads(repository).key();
        let mut listing = self.driver.list(&area).await.map_err(&failed)?;
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            let (EntryKind::Prefix, Ok(id)) = (entry.kind, UploadId::parse(&entry.name)) else {
                continue;
            };
            match self.purge_upload(repository, &id, age, purge).await {
                Ok(Verdict::Kept) => {}
                Ok(Verdict::Open) => purged.open += 1,
                Ok(Verdict::Abandoned { bytes }) => {
                    tracing::debug!(%repository, %id, bytes, ?purge, "an abandoned upload");
                    purged.uploads += 1;
                    purged.bytes += bytes;
                }
                Err(error) => purged.failed(error),
            }
        }
        Ok(())
    }

    async fn purge_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        age: Duration,
        purge: PurgeMode,
    ) -> Result<Verdict, Error> {
        let store = match self.driver.large_write() {
            LargeWrite::Append(store) => store,
            // No session is ever open there: what another request does to it meanwhile shows in its record.
            LargeWrite::Multipart(_) => return self.purge_remains(repository, id, age, purge).await,
        };
        let data = ObjectPath::upload_data(repository, id).key();
        let bytes = match self.driver.stat(&data).await {
            Ok(found) if !is_old(found.modified, age) => return Ok(Verdict::Kept),
            Ok(found) => found.size,
            Err(storage::Error::NotFound { .. }) => {
                return self.purge_remains(repository, id, age, purge).await;
            }
            Err(source) => return Err(Error::storage("look at an upload")(source)),
        };
        match purge {
            PurgeMode::DryRun => return Ok(Verdict::Abandoned { bytes }),
            PurgeMode::Remove => {}
        }
        // At the size that was seen: a chunk that came since then renewed the session.
        let lock = match store.stage(&data, Staged::At(bytes)).await {
            Ok(lock) => lock,
            Err(storage::Error::Busy { .. }) => return Ok(Verdict::Open),
            // The session was continued, finished or cancelled meanwhile.
            Err(storage::Error::OffsetMismatch { .. } | storage::Error::NotFound { .. }) => {
                return Ok(Verdict::Kept);
            }
            Err(source) => return Err(Error::storage("lock an upload")(source)),
        };
        // A request that is about to finish the session has renewed it.
        match self.driver.stat(&data).await {
            Ok(found) if is_old(found.modified, age) => {}
            Ok(_) | Err(storage::Error::NotFound { .. }) => return Ok(Verdict::Kept),
            Err(source) => return Err(Error::storage("look at an upload")(source)),
        }
        // The lock is held until everything is removed: a request that waits for it finds no session, not half of one.
        let removed = self.remove_upload(repository, id).await;
        drop(lock);
        removed.map(|()| Verdict::Abandoned { bytes })
    }

    /// Removes parts that no record refers to, or only an old record. A server, ours or distribution's, left them when
    /// it ended in the middle of a request.
    async fn purge_parts(
        &self,
        age: Duration,
        purge: PurgeMode,
        purged: &mut PurgeReport,
    ) -> Result<(), Error> {
        let LargeWrite::Multipart(store) = self.driver.large_write() else {
            return Ok(());
        };
        let unfinished = store.unfinished().await;
        for upload in unfinished.map_err(Error::storage("list unfinished uploads"))? {
            let UnfinishedUpload {
                key,
                upload,
                modified,
                bytes,
            } = upload;
            if !is_old(modified, age) || self.is_recorded_lately(&key, age).await? {
                continue;
            }
            let ended = match purge {
                PurgeMode::DryRun => Ok(()),
                PurgeMode::Remove => store.abort(&key, &upload).await,
            };
            match ended {
                Ok(()) => {
                    tracing::debug!(%key, bytes, ?purge, "an abandoned upload");
                    purged.uploads += 1;
                    purged.bytes += bytes;
                }
                Err(source) => purged.failed(Error::storage("end an unfinished upload")(source)),
            }
        }
        Ok(())
    }

    /// Whether the session of some data was continued within `age` without a new part.
    async fn is_recorded_lately(&self, key: &StorageKey, age: Duration) -> Result<bool, Error> {
        let Some(ObjectPath::UploadData { repository, id }) = ObjectPath::parse(key) else {
            return Ok(false);
        };
        let record = ObjectPath::UploadSession { repository, id };
        let found = self.driver.try_stat(&record.key()).await;
        let found = found.map_err(Error::storage("look at an upload"))?;
        Ok(found.is_some_and(|found| !is_old(found.modified, age)))
    }

    /// Removes a session without a data file: it was interrupted while it began, or its blob was published and the rest
    /// stayed, or its store takes parts.
    async fn purge_remains(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        age: Duration,
        purge: PurgeMode,
    ) -> Result<Verdict, Error> {
        if !self.is_abandoned(repository, id, age).await? {
            return Ok(Verdict::Kept);
        }
        let removed = match purge {
            PurgeMode::DryRun => true,
            PurgeMode::Remove => {
                self.upload_backend()
                    .remove_abandoned(repository, id, age)
                    .await?
            }
        };
        Ok(match removed {
            true => Verdict::Abandoned { bytes: 0 },
            false => Verdict::Kept,
        })
    }
}

/// The state of one session.
enum Verdict {
    /// It is not old, or was ended by its client.
    Kept,
    /// It is old, but a request has it open.
    Open,
    /// It is abandoned: it was removed, or would be.
    Abandoned { bytes: u64 },
}

impl PurgeReport {
    fn failed(&mut self, error: Error) {
        self.failed += 1;
        self.first_failure.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests;
