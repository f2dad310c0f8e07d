//! A copy of everything one store holds into another, between any two drivers.
//!
//! Guarantees:
//! - **A reader of the target never sees a link before what it leads to**: payloads first, then the links of blobs, then
//!   manifests, then our own index, then tags; a link is written only when its payload is seen at the target.
//! - **What does not have its digest is not copied**, nor what hangs on it; each is told. Payloads are hashed on the way.
//! - **It goes on where it broke off**: a payload that is there with its size, and a link that holds the same, are
//!   passed over. An object appears whole or not at all. What was deleted at the source since the last run stays.
//! - Memory is a constant: a few payloads of up to four megabytes, or a block of each larger one.
//!
//! Not copied: uploads in progress, the trash, the signs of servers, and the signatures that servers before 2.5 kept
//! beside manifests, which no server reads.
//!
//! A source that is written meanwhile is copied as far as it is seen; another run brings the rest. A target that is
//! written meanwhile is refused: its tags would be put back to what the source says. While it runs the target has a
//! sign of it, so that no garbage collection takes payloads whose links are yet to come; other copies into the same
//! target do not mind it, and a copy that was killed can be begun again at once.
//!
//! Must not: judge what a manifest says; a check of the target does.
//! Start at [`Registry::copy_to`]; `work` goes through the store, `objects` copies one thing.

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
use crate::storage::incoming;

impl Registry {
    /// Copies everything into another registry's store. `watch` is told what is going on, and `copied` counts it, also
    /// when it ends early.
    ///
    /// Dropping the future ends it between two steps; the next copy goes on.
    ///
    /// # Errors
    /// [`CopyError`]. What is broken at the source is none.
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
                    return Err(CopyError::Written { servers });
                }
            }
        }
        let server = LiveServer::copying_process();
        target.announce(&server).await.map_err(of_target)?;
        let heartbeat = Heartbeat::begin(target, server);
        let result = async {
            incoming::clear(&*target.driver)
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
