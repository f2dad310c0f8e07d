//! Copies everything in one store to another, between any two drivers.
//!
//! Guarantees:
//! - **A reader of the target never sees a link before its payload.** Payloads are copied first, then the links of
//!   blobs, then manifests, then our own index, then tags. A link is written only when its payload was found in the
//!   target.
//! - **Content that does not have its digest is not copied**, nor is anything that depends on it. Each is reported.
//!   Payloads are hashed on the way.
//! - **A copy continues where an earlier one was interrupted.** It skips a payload that the target has with the same
//!   size, and a link that holds the same digest. An object appears as a whole or not at all. Objects that were deleted
//!   in the source since the last run stay in the target.
//! - Memory is a constant: a few payloads of up to four megabytes, or a block of each larger one.
//!
//! Not copied: uploads in progress, the trash, heartbeats of servers, and the signatures that servers before 2.5 kept
//! beside manifests, which no server reads.
//!
//! A source that is written to meanwhile is copied as far as it is read, and another run copies the rest. A target that
//! is written to meanwhile is refused, because its tags would be set back to those of the source. While a copy runs, it
//! has a heartbeat in the target, so that no garbage collection removes payloads whose links are yet to be written.
//! Other copies into the same target ignore it, so a copy that was killed can be run again at once.
//!
//! Must not: judge what a manifest says; a check of the target does.
//! Start at [`Registry::copy_to`]. `run` goes through the store, `objects` copies one object.

pub(super) mod error;
mod objects;
pub(super) mod report;
mod run;

use self::error::CopyError;
use self::report::{CopyEvent, CopyReport};
use self::run::CopyRun;
use super::live_servers::heartbeat::Heartbeat;
use super::live_servers::{LiveServer, LiveServerPolicy};
use super::{Error, Registry};
use crate::storage::put_stream;

impl Registry {
    /// Copies everything to another registry's store. `watch` is called with events, and `copied` has the counts, also
    /// when the copy ends early.
    ///
    /// Dropping the future ends the copy between two steps. The next copy continues.
    ///
    /// # Errors
    /// [`CopyError`]. A broken object in the source is none.
    pub async fn copy_to(
        &self,
        target: &Self,
        live_server_policy: LiveServerPolicy,
        copied: &mut CopyReport,
        watch: &mut (dyn FnMut(CopyEvent<'_>) + Send),
    ) -> Result<(), CopyError> {
        let of_target = |error| CopyError::Target {
            source: Box::new(error),
        };
        if target.shares_store_with(self).await.map_err(of_target)? {
            return Err(CopyError::SameStore);
        }
        match live_server_policy {
            LiveServerPolicy::Ignore => {}
            LiveServerPolicy::Refuse => {
                let now = target.store_time().await.map_err(of_target)?;
                let mut servers = target.live_servers(now).await.map_err(of_target)?;
                servers.retain(|seen| !seen.server.as_ref().is_some_and(|server| server.copying));
                if !servers.is_empty() {
                    return Err(CopyError::LiveServers { servers });
                }
            }
        }
        let server = LiveServer::copying_process();
        target.announce(&server).await.map_err(of_target)?;
        let heartbeat = Heartbeat::begin(target, server);
        let result = async {
            put_stream::clear(&*target.driver)
                .await
                .map_err(Error::storage("remove what an earlier copy left"))
                .map_err(of_target)?;
            let mut run = CopyRun::new(self, target, copied, watch);
            run.payloads().await?;
            run.aliases().await?;
            run.repositories().await
        };
        let result = result.await;
        heartbeat.end().await;
        result
    }
}

#[cfg(test)]
mod tests;
