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
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long until a store is asked again that did not answer.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// Under which name health tells it.
const CHECK: &str = "storage_owner";

/// The claiming.
#[derive(Debug)]
pub(super) struct Ownership {
    confirmed: Confirmation,
    /// Ends when the store turns out to be another's.
    claiming: Option<JoinHandle<OwnerError>>,
}

/// Tells when it is confirmed that the store may be used.
#[derive(Debug, Clone)]
pub(super) struct Confirmation(watch::Receiver<bool>);

impl Confirmation {
    /// Waits for that; for ever, if it never is.
    pub(super) async fn wait(mut self) {
        if self.0.wait_for(|confirmed| *confirmed).await.is_err() {
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
        // Confirmation at once: the sender is gone, so nobody could say so later.
        let confirmed = match claiming {
            Some(_) => confirmed,
            None => Confirmation(watch::channel(true).1),
        };
        Ok(Self { confirmed, claiming })
    }

    pub(super) fn confirmed(&self) -> Confirmation {
        self.confirmed.clone()
    }

    /// Waits until the store turns out to be another's; for ever, if it does not.
    pub(super) async fn lost(&mut self) -> OwnerError {
        if let Some(claiming) = &mut self.claiming
            && let Ok(error) = claiming.await
        {
            return error;
        }
        pending().await
    }
}

/// Asks until there is an answer. Ends only with a bad one.
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
                health.serve_again(CHECK);
                confirmed.send_replace(true);
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
