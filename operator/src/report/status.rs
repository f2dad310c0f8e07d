//! The status: conditions, addresses and figures.
//!
//! Guarantees: all three conditions are there after the first reconcile, each with its generation; Ready is never True
//! together with Reconciling or Stalled. The conventions are those of the Kubernetes API and of kstatus.
//! Start at [`status`].

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Selector;
use operator_api::{Endpoint, EndpointType, Registry, RegistryStatus, StorageStatus, TlsStatus};

use super::outcome::{Outcome, STALLED_AFTER};
use super::{reason as why, sentence};
use crate::apply;
use crate::conditions::{READY, RECONCILING, STALLED};
use crate::error::Error;
use crate::fault::Fault;
use crate::findings::Findings;
use crate::issue::Issued;
use crate::settings::VERSION;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::ServerTls;

/// The three conditions without their times.
struct Verdict {
    ready: bool,
    reconciling: bool,
    stalled: bool,
    /// Whether something else is missing than before.
    new_wait: bool,
    reason: &'static str,
    sentence: String,
}

/// The status after a reconcile.
pub(super) fn status(registry: &Registry, outcome: &Outcome<'_>, now: Timestamp) -> RegistryStatus {
    let known = registry.status.clone().unwrap_or_default();
    let verdict = verdict(registry, outcome, &known, now);
    let findings = outcome.findings();
    // After a reconcile with problems the details stay as they were: the objects are still there.
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
        Outcome::Failed { problems, .. } => {
            let wait = Wait {
                reason: problems.first().map_or(why::INTERNAL_ERROR, why::of),
                sentence: sentence::failure(problems),
                // The API server's message may hold figures that change from answer to answer.
                exact: problems.iter().all(|error| {
                    matches!(error, Error::Validate(_) | Error::Apply(apply::Error::Foreign(_)))
                }),
            };
            let stalled = match problems.first().map(Error::fault) {
                Some(Fault::Caller | Fault::Permanent) => true,
                Some(Fault::Waiting) => wait.is_long(registry, known, now),
                Some(Fault::Transient { .. }) | None => false,
            };
            Verdict {
                ready: false,
                reconciling: !stalled,
                stalled,
                new_wait: !known.conditions.iter().any(|c| wait.is_reported_by(c)),
                reason: wait.reason,
                sentence: wait.sentence,
            }
        }
    }
}

/// The problem that keeps the Registry from being ready.
struct Wait {
    reason: &'static str,
    sentence: String,
    /// Whether the sentence stays the same as long as the problem does.
    exact: bool,
}

impl Wait {
    /// Whether the condition `known` is about the same problem.
    fn is_reported_by(&self, known: &Condition) -> bool {
        known.reason == self.reason && (!self.exact || known.message == self.sentence)
    }

    /// Whether the same problem has lasted for [`STALLED_AFTER`]. The times in the conditions survive a restart of the
    /// operator.
    fn is_long(&self, registry: &Registry, known: &RegistryStatus, now: Timestamp) -> bool {
        let same = |kind: &str| {
            known.conditions.iter().find(|c| {
                c.type_ == kind
                    && c.status == "True"
                    && self.is_reported_by(c)
                    && c.observed_generation == registry.metadata.generation
            })
        };
        if same(STALLED).is_some() {
            return true;
        }
        same(RECONCILING).is_some_and(|c| {
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
        RECONCILING => (why::SETTLED, "Nothing is being changed"),
        _ => (why::UNHINDERED, "Nothing needs a person"),
    };
    let condition = |kind: &str, holds: bool| {
        let (reason, message) = if holds || kind == READY {
            (*reason, sentence.as_str())
        } else {
            quiet(kind)
        };
        let status = if holds { "True" } else { "False" };
        let before = known.iter().find(|c| c.type_ == kind);
        // Another problem starts the clock of `Stalled` again.
        let fresh = kind == RECONCILING && holds && (*new_wait || before.is_some_and(|c| c.reason != reason));
        let since = before
            .filter(|c| c.status == status && !fresh)
            .map_or(now, |c| c.last_transition_time.0);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: generation,
            // The API server stores whole seconds: a fraction would differ from what is read back.
            last_transition_time: Time(Timestamp::from_second(since.as_second()).unwrap_or(since)),
        }
    };
    vec![
        condition(READY, *ready),
        condition(RECONCILING, *reconciling),
        condition(STALLED, *stalled),
    ]
}

fn details(registry: &ValidatedRegistry, issued: &Issued, findings: &Findings) -> RegistryStatus {
    let mut endpoints = Vec::new();
    let public = registry.public_url.clone();
    let ingress = registry.ingress.right();
    let hosts = ingress.into_iter().flat_map(|ingress| &ingress.spec.hosts);
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
    // The public address may also be that of the Ingress or the Service. The API server refuses a list that names an
    // address twice.
    let mut seen = BTreeSet::new();
    endpoints.retain(|endpoint| seen.insert(endpoint.url.clone()));
    let trusts = issued.server.is_some() || issued.edge.is_some() || registry.provided_ca.is_some();
    let not_after = match &registry.tls {
        Some(ServerTls::Provided { not_after, .. }) => Some(*not_after),
        Some(ServerTls::Issued) => issued.server.as_ref().map(|pair| pair.not_after),
        Some(ServerTls::Disabled) | None => None,
    };
    let tls = TlsStatus {
        ca_config_map: trusts.then(|| registry.names.ca_bundle()),
        not_after: not_after.map(Time),
    };
    RegistryStatus {
        url: endpoints.first().map(|endpoint| endpoint.url.clone()),
        endpoints,
        selector: Some(Selector::from_iter(registry.names.selector()).to_string()),
        storage: registry.storage.as_ref().map(|storage| StorageStatus {
            backend: Some(storage.kind().to_owned()),
            claim_name: storage.claim_name().map(str::to_owned),
            claim_uid: findings.claim_uid.clone(),
            location: storage.location().map(str::to_owned),
            capacity: findings.capacity.clone(),
        }),
        tls: (tls != TlsStatus::default()).then_some(tls),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
