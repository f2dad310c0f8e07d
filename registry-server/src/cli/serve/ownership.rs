//! Claims the store for this registry before anything is written to it.
//!
//! Guarantees: a store of another registry is never used. A store that does not answer is asked again, and every request
//! is refused until it answers.
//! Start at [`Ownership::claim`].

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::fault::{Fault, chain};
use crate::health::Health;
use crate::registry::{Claim, OwnerError, Registry};

/// How long the start waits for the store. After that the server listens, and answers that it is out of service.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts to reach a store that does not answer.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// The name of the health check that fails until the ownership is confirmed.
const CHECK: &str = "storage_owner";

/// The ownership of the store: confirmed, or still being claimed.
#[derive(Debug)]
pub(super) struct Ownership {
    confirmed: Confirmation,
    /// The task that claims the store. It ends only if the store belongs to another registry.
    claiming: Option<JoinHandle<OwnerError>>,
}

/// Reports the moment from which the store may be used.
#[derive(Debug, Clone)]
pub(super) struct Confirmation(watch::Receiver<bool>);

impl Confirmation {
    /// Waits until the ownership is confirmed; for ever if it never is.
    pub(super) async fn wait(mut self) {
        if self.0.wait_for(|confirmed| *confirmed).await.is_err() {
            pending::<()>().await;
        }
    }
}

impl Ownership {
    /// Claims the store for `owner`. Without an owner there is nothing to claim, and the store may be used at once. A store
    /// that does not answer is asked again in a task, for as long as it takes; every request is refused meanwhile.
    ///
    /// # Errors
    /// The store belongs to another registry, or cannot be used at all.
    pub(super) async fn claim(
        registry: &Registry,
        owner: Option<&str>,
        health: &Health,
    ) -> Result<Self, OwnerError> {
        let (sender, receiver) = watch::channel(false);
        let confirmed = Confirmation(receiver);
        let claiming = match owner {
            None => None,
            Some(owner) => {
                let failed = match timeout(START_TIMEOUT, registry.claim(owner)).await {
                    Ok(Ok(claim)) => {
                        log_claim(owner, claim);
                        None
                    }
                    Ok(Err(error)) if matches!(error.fault(), Fault::Transient { .. }) => Some(chain(&error)),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => Some(format!("the storage does not answer within {START_TIMEOUT:?}")),
                };
                failed.map(|failed| {
                    health.refuse(CHECK, failed);
                    let (registry, owner, health) = (registry.clone(), owner.to_owned(), health.clone());
                    tokio::spawn(
                        async move { claim_until_answered(&registry, &owner, &health, sender).await },
                    )
                })
            }
        };
        // Without a task the sender is gone, so the confirmation has to come from a channel of its own.
        let confirmed = match claiming {
            Some(_) => confirmed,
            None => Confirmation(watch::channel(true).1),
        };
        Ok(Self { confirmed, claiming })
    }

    /// A handle that reports when the ownership is confirmed.
    pub(super) fn confirmed(&self) -> Confirmation {
        self.confirmed.clone()
    }

    /// Waits for the answer that the store belongs to another registry; for ever if that does not come.
    pub(super) async fn lost(&mut self) -> OwnerError {
        if let Some(claiming) = &mut self.claiming
            && let Ok(error) = claiming.await
        {
            return error;
        }
        pending().await
    }
}

/// Claims the store until it answers. Ends only if the store belongs to another registry.
async fn claim_until_answered(
    registry: &Registry,
    owner: &str,
    health: &Health,
    confirmed: watch::Sender<bool>,
) -> OwnerError {
    loop {
        sleep(RETRY_EVERY).await;
        match registry.claim(owner).await {
            Ok(claim) => {
                log_claim(owner, claim);
                health.end_refusal(CHECK);
                confirmed.send_replace(true);
                pending::<()>().await;
            }
            Err(error) if matches!(error.fault(), Fault::Transient { .. }) => {
                tracing::debug!(
                    owner,
                    error = chain(&error),
                    "the storage did not say yet to whom it belongs"
                );
            }
            Err(error) => return error,
        }
    }
}

fn log_claim(owner: &str, claim: Claim) {
    match claim {
        Claim::Known => tracing::debug!(owner, "the storage is this registry's"),
        Claim::New => tracing::info!(owner, "the storage is this registry's from now on"),
        Claim::Unclaimed => tracing::info!(
            owner,
            "the storage has no owner, and a read-only server leaves it at that"
        ),
    }
}
