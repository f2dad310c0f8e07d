//! Eighth step: the status, and events about what has changed.
//!
//! Guarantees: a status that is the same is not written again; nothing of a Secret is in a status or an event. Must
//! not: look at anything, which `observe` and `probe` do.
//! Start at [`outcome()`]; `verdict.rs` judges, `conditions.rs` makes conditions of the verdict, `sentence.rs` has their
//! sentences, `reason.rs` their reasons.

mod conditions;
mod event;
mod outcome;
pub mod reason;
mod sentence;
mod status;
mod storage;
mod unparsable;
mod verdict;
mod verification;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::Recorder;
use kube::{Api, Client};
use operator_api::{Registry, RegistryStatus};
use serde_json::json;

use crate::fault::Fault;
use crate::subject::Subject;
pub use outcome::{Outcome, STALLED_AFTER};
pub use unparsable::unparsable;

/// Field manager of the status. It is another one than that of the children, because each manager applies all of its
/// fields.
pub const STATUS_MANAGER: &str = "berth-operator-status";

/// The status could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Registry could not be fetched.
    #[error("cannot get Registry `{name}`")]
    Get {
        /// The Registry.
        name: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server refused it or did not answer.
    #[error("cannot patch the status of Registry `{name}`")]
    Patch {
        /// The Registry.
        name: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Get { source, .. } | Self::Patch { source, .. } => Fault::of(source),
        }
    }
}

/// Writes the status after a reconcile, and publishes events about what it says newly. Gives the status.
///
/// # Errors
/// The API server refused the status or did not answer.
pub async fn outcome(
    client: &Client,
    recorder: &Recorder,
    registry: &Registry,
    subject: &Subject,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> Result<RegistryStatus, Error> {
    let (status, verdict) = status::status(registry, outcome, now);
    if write(client, registry, subject, &status).await? {
        event::publish(recorder, registry, &status, &verdict, outcome).await;
    }
    Ok(status)
}

/// Writes `status` unless the Registry has it already. Says whether it was written.
async fn write(
    client: &Client,
    registry: &Registry,
    subject: &Subject,
    status: &RegistryStatus,
) -> Result<bool, Error> {
    if registry.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let body = json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "Registry",
        // With the UID a Registry that has replaced this one does not get its status.
        "metadata": { "name": subject.name, "uid": subject.uid },
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let api = Api::<Registry>::namespaced(client.clone(), &subject.namespace);
    match api
        .patch_status(&subject.name, &params, &Patch::Apply(&body))
        .await
    {
        Ok(_) => Ok(true),
        // The Registry was deleted meanwhile.
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(false),
        Err(source) => Err(Error::Patch {
            name: subject.name.clone(),
            source: Box::new(source),
        }),
    }
}
