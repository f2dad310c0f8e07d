//! The sign that this server writes to its store, for a garbage collection to see.

use std::time::Duration;

use registry_config::model::Maintenance;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::registry::{BEAT, Registry, Writer};
use crate::telemetry::chain;

/// How long a stopping server waits for its store. The sign becomes old by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon a sign that could not be given is tried again. It is also how a server nobody pushes to finds out that its
/// store takes writes again.
const AGAIN: Duration = Duration::from_secs(5);

/// How often at least: a store must take writes for a while before they count.
const AGAIN_AT_LEAST: u32 = 3;

/// A sign that is being given.
#[derive(Debug)]
pub(super) struct Presence {
    /// Dropping it ends the sign.
    goes_on: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Presence {
    /// Begins, unless the server writes nothing.
    pub(super) fn of(registry: &Registry, maintenance: &Maintenance) -> Option<Self> {
        if maintenance.is_read_only() {
            return None;
        }
        let (goes_on, ended) = oneshot::channel();
        let task = tokio::spawn(follow(registry.clone(), ended));
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
async fn follow(registry: Registry, mut ended: oneshot::Receiver<()>) {
    let writer = Writer::this();
    let mut failing = false;
    let mut again = 0;
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            _ = &mut ended => break,
            () = sleep(pause) => {}
        }
        let failed = registry.announce(&writer).await.err();
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
            AGAIN_AT_LEAST
        } else {
            again.saturating_sub(1)
        };
        pause = if again > 0 { AGAIN } else { BEAT };
    }
    if let Err(error) = registry.withdraw(&writer).await
        && error.refusal().is_none()
    {
        tracing::warn!(
            error = chain(&error),
            "cannot tell the store that this server is gone"
        );
    }
}
