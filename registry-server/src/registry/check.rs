//! Checks the whole store: every payload, every link, every manifest with the content that it refers to; and repairs
//! it.
//!
//! Broken is what a user would notice: see [`Finding`]. Quirks of other servers are not findings: empty folders that
//! are not those of tags, uploads, signatures beside schema 1 manifests, entries of deleted manifests in the history of
//! a tag, layers outside the registry.
//!
//! Guarantees:
//! - A check without repair writes nothing, and continues behind what cannot be read.
//! - **A repair deletes nothing** but empty folders. It moves objects to the trash of its run: it writes a line of the
//!   journal first, then the copy, then removes the object. [`Registry::undo_repair`] puts all of them back. A repair
//!   can be interrupted at any point and run again.
//! - An object that was written again since it was checked stays in its place.
//! - One run finds what follows from its own repairs: it checks payloads first, then manifests, then the links of
//!   blobs, then the tags of each repository. A check without repair finds the same, because broken objects count as
//!   missing.
//! - Memory is a constant, and a few hundred bytes for each damaged payload.
//!
//! Pushes and deletions at the same time: a missing object is looked up twice before it is a finding. A repair does not
//! start beside a live server (see [`super::live_servers`]).
//!
//! Must not: renew what it reads, or it would keep garbage alive.
//! Start at [`Registry::check`]. `inspector` checks one object; `manifests`, `links` and `blobs` check theirs; `trash`
//! moves objects.

mod blobs;
mod diagnosis;
pub(super) mod error;
pub(super) mod finding;
mod inspector;
mod links;
mod manifests;
pub(super) mod report;
mod run;
mod trash;
pub(super) mod undo;

use std::time::{Duration, SystemTime};

use registry_oci::Digest;
use uuid::Uuid;

use self::diagnosis::Move;
use self::error::CheckError;
use self::finding::Finding;
use self::report::{CheckEvent, CheckOptions, CheckReport, Repair};
use self::run::CheckRun;
use self::trash::{Moved, Trash};
use super::live_servers::LiveServerPolicy;
use super::{Error, Registry};
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::put_stream;

/// The minimum age of files that an interrupted write left. A write takes seconds.
const LEFTOVER: Duration = Duration::from_secs(3600);

impl Registry {
    /// Checks everything in the store. `watch` is called with events.
    ///
    /// Dropping the future ends the check between two steps.
    ///
    /// # Errors
    /// [`CheckError`]: a live server writes to the store, or the store does not answer. One object that cannot be read
    /// is a finding.
    pub async fn check(
        &self,
        checking: CheckOptions,
        watch: &mut (dyn FnMut(CheckEvent<'_>) + Send),
    ) -> Result<CheckReport, CheckError> {
        self.admit(checking).await?;
        let mut run = CheckRun::new(self, checking, watch);
        run.payloads().await?;
        run.aliases().await?;
        // Hashing takes days on a large store: a server may have been started in the meantime.
        self.admit(checking).await?;
        let mut walk = self.walk(PathPrefix::Repositories).await?;
        while let Some(folder) = walk.next().await {
            match folder {
                Ok(folder) => run.folder(folder).await?,
                Err(error) => run.unreadable(error).await?,
            }
        }
        if checking.repair == Repair::Move {
            let failed = Error::storage("remove what interrupted writes left");
            run.checked.swept = self.driver.sweep(LEFTOVER).await.map_err(&failed)?;
            run.checked.swept.objects += put_stream::clear(&*self.driver).await.map_err(&failed)?;
        }
        Ok(run.end())
    }

    /// Moves a damaged payload to the trash of a repair of its own, unless it was written or renewed after it was read.
    /// Returns the id of that repair.
    pub(super) async fn trash_blob(
        &self,
        digest: Digest,
        size: u64,
        seen: SystemTime,
    ) -> Result<Option<Uuid>, Error> {
        let mut trash = Trash::new(self, LiveServerPolicy::Ignore);
        let damaged = Move::new(ObjectPath::blob_data(&digest), seen);
        match trash
            .take(&damaged, &Finding::BlobDamaged { digest, size })
            .await?
        {
            Moved::Yes => Ok(trash.run()),
            Moved::No => Ok(None),
        }
    }

    async fn admit(&self, checking: CheckOptions) -> Result<(), CheckError> {
        match checking.repair {
            Repair::Report => Ok(()),
            Repair::Move => self.admit_repair(checking.live_server_policy).await,
        }
    }

    /// Refuses a repair beside a live server.
    async fn admit_repair(&self, live_server_policy: LiveServerPolicy) -> Result<(), CheckError> {
        match live_server_policy {
            LiveServerPolicy::Refuse => {}
            LiveServerPolicy::Ignore => return Ok(()),
        }
        let servers = self.live_servers(self.store_time().await?).await?;
        if servers.is_empty() {
            return Ok(());
        }
        Err(CheckError::LiveServers { servers })
    }
}

#[cfg(test)]
mod tests;
