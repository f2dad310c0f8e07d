//! A check of the whole store: every payload, every link, every manifest with what it mentions; and its repair.
//!
//! What counts as broken is what a user would notice: see [`Finding`]. Quirks of other servers are none of that: empty
//! folders but those of tags, uploads, signatures beside schema 1 manifests, the history of a tag that speaks of deleted manifests, layers
//! that lie elsewhere.
//!
//! Guarantees:
//! - A check without repair writes nothing, and goes on behind what cannot be read.
//! - **A repair deletes nothing** but folders with nothing in them. What it takes out of its place goes into the trash of its run, a copy first; a line
//!   of the journal is there before that. [`Registry::undo_repair`] puts it all back. It can be cut off anywhere and
//!   begun again.
//! - What somebody wrote anew since it was looked at stays where it is.
//! - What follows from a repair is found by the same run: payloads come first, then the manifests, then the links of
//!   blobs, then the tags of each repository. A check without repair finds the same, because what is broken counts
//!   as gone.
//! - Memory is a constant, and some hundred bytes for each damaged payload.
//!
//! Pushes and deletions that run meanwhile: what is missing is looked at twice before it is a finding. A repair does
//! not begin beside a server that gives a sign of writing (see [`super::live_servers`]).
//!
//! Must not: renew what it looks at, or it would keep garbage alive.
//! Start at [`Registry::check`]; `inspector` looks at one thing, `manifests`, `links` and `blobs` at their kinds, `trash` moves.

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
use crate::storage::incoming;
use crate::storage::layout::{Area, Place};

/// How old a leftover of an interrupted write must be. Such a write takes seconds.
const LEFTOVER: Duration = Duration::from_secs(3600);

impl Registry {
    /// Looks at everything in the store. `watch` is told what is going on.
    ///
    /// Dropping the future ends it between two steps; the next check goes on.
    ///
    /// # Errors
    /// [`CheckError`]: somebody writes, or the store does not answer. One object that cannot be read is a finding.
    pub async fn check(
        &self,
        checking: CheckOptions,
        watch: &mut (dyn FnMut(CheckEvent<'_>) + Send),
    ) -> Result<CheckReport, CheckError> {
        self.admit(checking).await?;
        let mut run = CheckRun::new(self, checking, watch);
        run.payloads().await?;
        run.aliases().await?;
        // Hashing takes days on a large store: somebody may have started a server.
        self.admit(checking).await?;
        let mut walk = self.walk(Area::Repositories).await?;
        while let Some(folder) = walk.next().await {
            match folder {
                Ok(folder) => run.folder(folder).await?,
                Err(error) => run.unreadable(error).await?,
            }
        }
        if checking.repair == Repair::Move {
            let failed = Error::storage("remove what interrupted writes left");
            run.checked.swept = self.driver.sweep(LEFTOVER).await.map_err(&failed)?;
            run.checked.swept.objects += incoming::clear(&*self.driver).await.map_err(&failed)?;
        }
        Ok(run.end())
    }

    /// Takes a damaged payload to the trash of a repair of its own, unless it was written or renewed after it was seen;
    /// gives the repair's name.
    pub(super) async fn trash_blob(
        &self,
        digest: Digest,
        size: u64,
        seen: SystemTime,
    ) -> Result<Option<Uuid>, Error> {
        let mut trash = Trash::new(self, LiveServerPolicy::Ignore);
        let damaged = Move::new(Place::blob_data(&digest), seen);
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

    /// Refuses a repair beside a live writer.
    async fn admit_repair(&self, live_server_policy: LiveServerPolicy) -> Result<(), CheckError> {
        match live_server_policy {
            LiveServerPolicy::Refuse => {}
            LiveServerPolicy::Ignore => return Ok(()),
        }
        let servers = self.live_servers(self.store_time().await?).await?;
        if servers.is_empty() {
            return Ok(());
        }
        Err(CheckError::Written { servers })
    }
}

#[cfg(test)]
mod tests;
