//! Last step: conditions, addresses and figures into the status, and an event when something changed.
//!
//! Guarantees: all three conditions stand there after the first pass, each with the generation it is about; Ready is
//! never True beside Reconciling or Stalled; a status that says the same is not written again. The conventions are
//! those of the Kubernetes API and of kstatus. Must not: quote anything of a Secret, or decide what is ready.
//! Start at [`status`] and [`write()`].

pub mod reason;
mod sentence;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use operator_api::{Endpoint, EndpointType, Registry, RegistryStatus, StorageStatus, TlsStatus};
use serde_json::json;

use crate::build::labels::selector;
use crate::build::pod::selector_text;
use crate::error::{Error as PassError, Fault, fault_of};
use crate::issue::Issued;
use crate::observe::Findings;
use crate::validate::{ServerTls, ValidatedRegistry};
use crate::{VERSION, report::reason as why};

/// Field manager of the status, apart from that of the objects: both are applied, each with all of its fields.
pub const STATUS_MANAGER: &str = "berth-operator-status";
/// How long something may be missing before nobody is expected to bring it: GitOps tools give up on Stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(300);

/// The status could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused it or did not answer.
    #[error("cannot patch the status of Registry `{name}`")]
    Patch {
        /// The Registry.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Patch { source, .. } => fault_of(source),
        }
    }
}

/// How a pass ended.
pub enum Outcome<'a> {
    /// Every object is as it should be.
    Applied {
        /// What was asked for.
        registry: &'a ValidatedRegistry,
        /// What was generated.
        issued: &'a Issued,
        /// What was seen.
        findings: &'a Findings,
    },
    /// It stopped on the way.
    Failed {
        /// Why.
        error: &'a PassError,
        /// What was seen of earlier passes' objects.
        findings: &'a Findings,
    },
    /// `spec.paused`.
    Paused {
        /// What was seen of earlier passes' objects.
        findings: &'a Findings,
    },
}

/// The three conditions, before they are given times.
struct Verdict {
    ready: bool,
    reconciling: bool,
    stalled: bool,
    /// Whether it is something else than before that is missing.
    new_wait: bool,
    reason: &'static str,
    sentence: String,
}

/// The status after a pass.
pub fn status(registry: &Registry, outcome: &Outcome<'_>, now: Timestamp) -> RegistryStatus {
    let known = registry.status.clone().unwrap_or_default();
    let verdict = verdict(registry, outcome, &known, now);
    let findings = match outcome {
        Outcome::Applied { findings, .. }
        | Outcome::Failed { findings, .. }
        | Outcome::Paused { findings } => findings,
    };
    // What only a whole pass knows stays as it was after one that stopped: the objects are still there.
    let mut status = match outcome {
        Outcome::Applied {
            registry,
            issued,
            findings,
        } => details(registry, issued, findings),
        Outcome::Failed { .. } | Outcome::Paused { .. } => known.clone(),
    };
    status.observed_generation = registry.metadata.generation;
    status.replicas = Some(findings.replicas);
    status.ready_replicas = Some(findings.ready_replicas);
    status.version = Some(VERSION.to_owned());
    status.conditions = conditions(&verdict, &known.conditions, registry.metadata.generation, now);
    status
}

fn verdict(registry: &Registry, outcome: &Outcome<'_>, known: &RegistryStatus, now: Timestamp) -> Verdict {
    match outcome {
        Outcome::Applied {
            registry, findings, ..
        } => {
            let (reason, sentence) = sentence::progress(registry, findings);
            let ready = reason == why::SERVING;
            let stalled = reason == why::ROLLOUT_STUCK;
            let resting = ready || stalled || reason == why::SCALED_TO_ZERO;
            Verdict {
                ready,
                reconciling: !resting,
                stalled,
                new_wait: false,
                reason,
                sentence,
            }
        }
        Outcome::Paused { findings } => {
            let ready = findings.serving();
            let sentence = "Paused: nothing is changed until `spec.paused` is false".to_owned();
            Verdict {
                ready,
                reconciling: false,
                stalled: false,
                new_wait: false,
                reason: why::PAUSED,
                sentence,
            }
        }
        Outcome::Failed { error, .. } => {
            let wait = Wait {
                reason: why::of(error),
                sentence: sentence::failure(error),
                // What the API server says may carry figures that change from answer to answer.
                exact: matches!(error, PassError::Validate(_)),
            };
            let stalled = match error.fault() {
                Fault::Caller | Fault::Permanent => true,
                Fault::Waiting => wait.is_long(registry, known, now),
                Fault::Transient { .. } => false,
            };
            Verdict {
                ready: false,
                reconciling: !stalled,
                stalled,
                new_wait: !known.conditions.iter().any(|c| wait.is_said_by(c)),
                reason: wait.reason,
                sentence: wait.sentence,
            }
        }
    }
}

/// What a pass stopped at.
struct Wait {
    reason: &'static str,
    sentence: String,
    /// Whether the sentence names what is awaited, and nothing that changes while it is.
    exact: bool,
}

impl Wait {
    /// Whether `known` is about the same thing.
    fn is_said_by(&self, known: &Condition) -> bool {
        known.reason == self.reason && (!self.exact || known.message == self.sentence)
    }

    /// Whether the same thing has been missing for [`STALLED_AFTER`], by the times the conditions carry: they survive
    /// a restart of the operator.
    fn is_long(&self, registry: &Registry, known: &RegistryStatus, now: Timestamp) -> bool {
        let same = |kind: &str| {
            known.conditions.iter().find(|c| {
                c.type_ == kind
                    && c.status == "True"
                    && self.is_said_by(c)
                    && c.observed_generation == registry.metadata.generation
            })
        };
        if same(why::STALLED).is_some() {
            return true;
        }
        same(why::RECONCILING).is_some_and(|c| {
            now.duration_since(c.last_transition_time.0)
                >= jiff::SignedDuration::try_from(STALLED_AFTER).unwrap_or_default()
        })
    }
}

fn conditions(
    verdict: &Verdict,
    known: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let Verdict {
        ready,
        reconciling,
        stalled,
        new_wait,
        reason,
        sentence,
    } = verdict;
    let quiet = |kind: &str| match kind {
        why::RECONCILING => (why::SETTLED, "Nothing is being changed"),
        _ => (why::UNHINDERED, "Nothing needs a person"),
    };
    let condition = |kind: &str, holds: bool| {
        let (reason, message) = if holds || kind == why::READY {
            (*reason, sentence.as_str())
        } else {
            quiet(kind)
        };
        let status = if holds { "True" } else { "False" };
        let before = known.iter().find(|c| c.type_ == kind);
        // When something else is waited for, the clock of `Stalled` starts again.
        let fresh =
            kind == why::RECONCILING && holds && (*new_wait || before.is_some_and(|c| c.reason != reason));
        let since = before
            .filter(|c| c.status == status && !fresh)
            .map_or(now, |c| c.last_transition_time.0);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: generation,
            // The API server keeps whole seconds; a fraction would differ from what is read back.
            last_transition_time: Time(Timestamp::from_second(since.as_second()).unwrap_or(since)),
        }
    };
    vec![
        condition(why::READY, *ready),
        condition(why::RECONCILING, *reconciling),
        condition(why::STALLED, *stalled),
    ]
}

fn details(registry: &ValidatedRegistry, issued: &Issued, findings: &Findings) -> RegistryStatus {
    let mut endpoints = Vec::new();
    let public = registry.public_url.clone();
    let hosts = registry.ingress.iter().flat_map(|ingress| &ingress.spec.hosts);
    endpoints.extend(public.map(|url| Endpoint {
        type_: EndpointType::Public,
        url,
    }));
    endpoints.extend(hosts.map(|host| Endpoint {
        type_: EndpointType::Ingress,
        url: format!("https://{host}"),
    }));
    endpoints.push(Endpoint {
        type_: EndpointType::Service,
        url: registry.service_url(),
    });
    // An address that is public and something else besides is one address: the API server refuses a list that names
    // it twice, wherever the two stand.
    let mut seen = BTreeSet::new();
    endpoints.retain(|endpoint| seen.insert(endpoint.url.clone()));
    let trusts = issued.server.is_some() || issued.edge.is_some() || registry.provided_ca.is_some();
    let not_after = match &registry.tls {
        Some(ServerTls::Provided { not_after, .. }) => Some(*not_after),
        Some(ServerTls::Issued) => issued.server.as_ref().map(|pair| pair.not_after),
        None => None,
    };
    let tls = TlsStatus {
        ca_config_map: trusts.then(|| registry.names.ca_bundle()),
        not_after: not_after.map(Time),
    };
    RegistryStatus {
        url: endpoints.first().map(|endpoint| endpoint.url.clone()),
        endpoints,
        selector: Some(selector_text(&selector(registry))),
        storage: Some(StorageStatus {
            backend: Some(registry.storage.kind().to_owned()),
            claim_name: registry.storage.claim_name().map(str::to_owned),
            location: registry.storage.location().map(str::to_owned),
            capacity: findings.capacity.clone(),
        }),
        tls: (tls != TlsStatus::default()).then_some(tls),
        ..Default::default()
    }
}

/// Writes `status` unless the Registry has it already. Returns whether it was written.
///
/// # Errors
/// The API server refused it or did not answer.
pub async fn write(
    client: &Client,
    registry: &Registry,
    namespace: &str,
    status: &RegistryStatus,
) -> Result<bool, Error> {
    if registry.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let name = registry.metadata.name.clone().unwrap_or_default();
    let body = json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "Registry",
        // A Registry that took this one's place has a status of its own.
        "metadata": { "name": name, "uid": registry.metadata.uid },
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let api = Api::<Registry>::namespaced(client.clone(), namespace);
    match api.patch_status(&name, &params, &Patch::Apply(&body)).await {
        Ok(_) => Ok(true),
        // Deleted meanwhile: there is nobody to tell.
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(false),
        Err(source) => Err(Error::Patch {
            name,
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests;
