//! Whether the store is this registry's, before anything is done in it.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::fault::{Fault, chain};
use crate::health::Health;
use crate::registry::{Claim, OwnerError, Registry};

/// How long a start waits for its store. Then the server answers, if only that it is out of service.
const START: Duration = Duration::from_secs(5);
/// How long until a store is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(2);
/// Under which name health tells it.
const CHECK: &str = "storage_owner";

/// The asking.
#[derive(Debug)]
pub(super) struct Ownership {
    settled: Settled,
    /// Ends when the store turns out to be another's.
    asking: Option<JoinHandle<OwnerError>>,
}

/// Tells when it is settled that the store may be used.
#[derive(Debug, Clone)]
pub(super) struct Settled(watch::Receiver<bool>);

impl Settled {
    /// Waits for that; for ever, if it never is.
    pub(super) async fn wait(mut self) {
        if self.0.wait_for(|settled| *settled).await.is_err() {
            pending::<()>().await;
        }
    }
}

impl Ownership {
    /// Claims the store, if there is a name to claim it for. A store that does not answer is asked again for as
    /// long as it takes, and until then every request is refused.
    pub(super) async fn claim(
        registry: &Registry,
        owner: Option<&str>,
        health: &Health,
    ) -> Result<Self, OwnerError> {
        let (sender, receiver) = watch::channel(false);
        let settled = Settled(receiver);
        let asking = match owner {
            None => None,
            Some(owner) => {
                let failed = match timeout(START, registry.claim(owner)).await {
                    Ok(Ok(claim)) => {
                        say(owner, claim);
                        None
                    }
                    Ok(Err(error)) if matches!(error.fault(), Fault::Transient { .. }) => Some(chain(&error)),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => Some(format!("the storage does not answer within {START:?}")),
                };
                failed.map(|failed| {
                    health.refuse(CHECK, failed);
                    let (registry, owner, health) = (registry.clone(), owner.to_owned(), health.clone());
                    tokio::spawn(async move { ask(&registry, &owner, &health, sender).await })
                })
            }
        };
        // Settled at once: the sender is gone, so nobody could say so later.
        let settled = match asking {
            Some(_) => settled,
            None => Settled(watch::channel(true).1),
        };
        Ok(Self { settled, asking })
    }

    pub(super) fn settled(&self) -> Settled {
        self.settled.clone()
    }

    /// Waits until the store turns out to be another's; for ever, if it does not.
    pub(super) async fn lost(&mut self) -> OwnerError {
        if let Some(asking) = &mut self.asking
            && let Ok(error) = asking.await
        {
            return error;
        }
        pending().await
    }
}

/// Asks until there is an answer. Ends only with a bad one.
async fn ask(registry: &Registry, owner: &str, health: &Health, settled: watch::Sender<bool>) -> OwnerError {
    loop {
        sleep(AGAIN).await;
        match registry.claim(owner).await {
            Ok(claim) => {
                say(owner, claim);
                health.serve_again(CHECK);
                settled.send_replace(true);
                pending::<()>().await;
            }
            Err(error) if matches!(error.fault(), Fault::Transient { .. }) => {
                tracing::debug!(
                    owner,
                    error = chain(&error),
                    "it is not known whose storage it is"
                );
            }
            Err(error) => return error,
        }
    }
}

fn say(owner: &str, claim: Claim) {
    match claim {
        Claim::Known => tracing::debug!(owner, "the storage is this registry's"),
        Claim::New => tracing::info!(owner, "the storage is this registry's from now on"),
        Claim::Unclaimed => tracing::info!(
            owner,
            "the storage has no owner, and a read-only server leaves it at that"
        ),
    }
}
