//! The sign that this process writes to its store, for a garbage collection to see.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{INTERVAL, LiveServer};
use crate::fault::chain;
use crate::registry::Registry;

/// How long a stopping server waits for its store. The sign becomes old by itself.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon a sign that could not be given is tried again. It is also how a server nobody pushes to finds out that its
/// store takes writes again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often at least: a store must take writes for a while before they count.
const RETRIES_MIN: u32 = 3;

/// A sign that is being given.
#[derive(Debug)]
pub struct Heartbeat {
    /// Dropping it ends the sign.
    running: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Begins. Dropping it takes the sign back too, but nobody waits for that.
    pub fn begin(registry: &Registry, server: LiveServer) -> Self {
        let (running, ended) = oneshot::channel();
        let task = tokio::spawn(beat(registry.clone(), server, ended));
        Self { running, task }
    }

    /// Takes the sign back, if the store answers.
    pub async fn end(self) {
        drop(self.running);
        if timeout(WITHDRAW_TIMEOUT, self.task).await.is_err() {
            tracing::warn!(
                "the store does not answer: a garbage collection may take this server for running on"
            );
        }
    }
}

/// Never dropped in the middle of a write, which would go on and be later than the withdrawal.
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
        // A store that cannot be written to for days is one line, not thousands; and none when it has said it itself.
        if let Some(error) = failed
            .as_ref()
            .filter(|error| !failing && error.refusal().is_none())
        {
            tracing::warn!(
                error = chain(error),
                "cannot tell the store that this server writes to it: a garbage collection would not notice"
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
            "cannot tell the store that this server is gone"
        );
    }
}
