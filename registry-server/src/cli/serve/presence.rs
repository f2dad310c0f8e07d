//! The sign that this server writes to its store, for a garbage collection to see.

use std::time::Duration;

use registry_config::model::Maintenance;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::ownership::Settled;
use crate::registry::{BEAT, Registry, Writer};
use crate::telemetry::chain;

/// How long a stopping server waits for its store. The sign becomes old by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sign that is being given.
#[derive(Debug)]
pub(super) struct Presence {
    /// Dropping it ends the sign.
    goes_on: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Presence {
    /// Begins once the store may be used, unless the server writes nothing.
    pub(super) fn of(registry: &Registry, maintenance: &Maintenance, settled: Settled) -> Option<Self> {
        if maintenance.is_read_only() {
            return None;
        }
        let (goes_on, ended) = oneshot::channel();
        let task = tokio::spawn(follow(registry.clone(), settled, ended));
        Some(Self { goes_on, task })
    }

    /// Takes the sign back, if the store answers.
    pub(super) async fn end(self) {
        drop(self.goes_on);
        if timeout(PATIENCE, self.task).await.is_err() {
            tracing::warn!(
                "the store does not answer: a garbage collection may take this server for running on"
            );
        }
    }
}

/// Never dropped in the middle of a write, which would go on and be later than the withdrawal.
async fn follow(registry: Registry, settled: Settled, mut ended: oneshot::Receiver<()>) {
    tokio::select! {
        _ = &mut ended => return,
        () = settled.wait() => {}
    }
    let writer = Writer::this();
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = &mut ended => break,
            _ = tick.tick() => {}
        }
        let failed = registry.announce(&writer).await.err();
        // A store that cannot be written to for days is one line, not thousands.
        if let Some(error) = failed.as_ref().filter(|_| !failing) {
            tracing::warn!(
                error = chain(error),
                "cannot tell the store that this server writes to it: a garbage collection would not notice"
            );
        }
        failing = failed.is_some();
    }
    if let Err(error) = registry.withdraw(&writer).await {
        tracing::warn!(
            error = chain(&error),
            "cannot tell the store that this server is gone"
        );
    }
}
