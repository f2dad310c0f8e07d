//! The heartbeat of this process in its store, for maintenance runs to see.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{INTERVAL, LiveServer};
use crate::fault::chain;
use crate::registry::Registry;

/// How long a stopping server waits for its store to remove the heartbeat. A heartbeat that stays becomes stale by
/// itself.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon a heartbeat that could not be written is tried again. This is also how a server to which nobody pushes
/// finds out that its store takes writes again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How many heartbeats follow a failed one at this pace: a store must take writes for a while before they count.
const RETRIES_MIN: u32 = 3;

/// A heartbeat that is running.
#[derive(Debug)]
pub struct Heartbeat {
    /// Dropping it ends the heartbeat.
    running: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Starts the heartbeat. Dropping it removes the heartbeat too, but nobody waits for that.
    pub fn begin(registry: &Registry, server: LiveServer) -> Self {
        let (running, ended) = oneshot::channel();
        let task = tokio::spawn(beat(registry.clone(), server, ended));
        Self { running, task }
    }

    /// Ends the heartbeat and removes it from the store, if the store answers.
    pub async fn end(self) {
        drop(self.running);
        if timeout(WITHDRAW_TIMEOUT, self.task).await.is_err() {
            tracing::warn!(
                "the store does not answer: for a while, a garbage collection may take this server for a live one"
            );
        }
    }
}

/// Writes heartbeats until `ended` resolves. It is never dropped in the middle of a write, which would continue and
/// arrive after the removal.
async fn beat(registry: Registry, server: LiveServer, mut ended: oneshot::Receiver<()>) {
    let mut failing = false;
    let mut again = 0;
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            _ = &mut ended => break,
            () = sleep(pause) => {}
        }
        let failed = registry.announce(&server).await.err();
        // A store that cannot be written to for days is logged once, not thousands of times; and not at all when its
        // health has logged it.
        if let Some(error) = failed
            .as_ref()
            .filter(|error| !failing && error.refusal().is_none())
        {
            tracing::warn!(
                error = chain(error),
                "cannot write this server's heartbeat to the store: a garbage collection would not see the server"
            );
        }
        failing = failed.is_some();
        again = if failing {
            RETRIES_MIN
        } else {
            again.saturating_sub(1)
        };
        pause = if again > 0 { RETRY_INTERVAL } else { INTERVAL };
    }
    if let Err(error) = registry.withdraw(&server).await
        && error.refusal().is_none()
    {
        tracing::warn!(
            error = chain(&error),
            "cannot remove this server's heartbeat from the store"
        );
    }
}
