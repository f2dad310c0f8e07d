//! The status: addresses, figures, and the conditions.
//!
//! Guarantees: the generation is that of the spec which was applied or judged, never one that nobody looked at; what is
//! not known after a problem stays as it was. The conventions are those of the Kubernetes API and of kstatus.
//! Start at [`status`].

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::Selector;
use operator_api::{EndpointState, RECONCILE_REQUEST_ANNOTATION, Registry, RegistryStatus, TlsStatus};

use super::conditions::conditions;
use super::outcome::Outcome;
use super::verdict::Verdict;
use super::{storage, verification};
use crate::findings::Findings;
use crate::settings::VERSION;
use crate::validate::registry::ServerTls;

/// The status after a reconcile, and the verdict in it.
pub(super) fn status(
    registry: &Registry,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> (RegistryStatus, Verdict) {
    let known = registry.status.clone().unwrap_or_default();
    let findings = outcome.findings;
    let mut status = known.clone();
    // Nobody applies the spec of a paused Registry. It may be as asked all the same: when only the pause is new.
    if !outcome.registry.paused || findings.as_asked {
        status.observed_generation = registry.metadata.generation;
    }
    let annotations = registry.metadata.annotations.as_ref();
    status.last_handled_reconcile_at =
        annotations.and_then(|all| all.get(RECONCILE_REQUEST_ANNOTATION).cloned());
    status.replicas = Some(findings.replicas);
    status.ready_replicas = Some(findings.ready_replicas);
    status.node_port = findings.node_port;
    status.operator_version = Some(VERSION.to_owned());
    status.tls = tls(outcome, &known);
    if findings.rolled_out() {
        status.image.clone_from(&findings.image);
    }
    if !findings.endpoints.is_empty() {
        status.endpoints.clone_from(&findings.endpoints);
    }
    status.url = url(findings, &known);
    if outcome.is_applied() {
        status.selector = Some(Selector::from_iter(outcome.registry.names.selector()).to_string());
        status.storage = storage::status(outcome, known.storage.as_ref());
    }
    status.verification = verification::latest(outcome.registry, findings.verification.as_ref(), &known);
    let ends = status
        .tls
        .as_ref()
        .and_then(|tls| tls.not_after.as_ref())
        .map(|end| end.0);
    let verdict = Verdict::of(registry, outcome, &known, ends, now);
    status.waiting_since = verdict.waiting_since.map(Time);
    status.conditions = conditions(&verdict, outcome, &status, &known, now);
    (status, verdict)
}

/// The address for clients. One that was published stays while it is asked again.
fn url(findings: &Findings, known: &RegistryStatus) -> Option<String> {
    let before = known.url.as_deref().filter(|url| {
        let mut endpoints = findings.endpoints.iter();
        findings.endpoints.is_empty()
            || endpoints.any(|endpoint| endpoint.url == *url && endpoint.state == EndpointState::Pending)
    });
    before.or_else(|| findings.url()).map(str::to_owned)
}

fn tls(outcome: &Outcome<'_>, known: &RegistryStatus) -> Option<TlsStatus> {
    let known = known.tls.clone().unwrap_or_default();
    let registry = outcome.registry;
    let issued = outcome.issued;
    let not_after = match &registry.tls {
        Some(ServerTls::Provided { not_after, .. }) => Some(Time(*not_after)),
        Some(ServerTls::Disabled) => None,
        Some(ServerTls::Issued) => match issued.and_then(|issued| issued.server.as_ref()) {
            Some(pair) => Some(Time(pair.not_after)),
            None => known.not_after,
        },
        None => known.not_after,
    };
    let ca_config_map = match issued.filter(|_| outcome.is_applied()) {
        Some(issued) => {
            let trusts = issued.server.is_some() || issued.edge.is_some() || registry.provided_ca.is_some();
            trusts.then(|| registry.names.ca_bundle())
        }
        None => known.ca_config_map,
    };
    let tls = TlsStatus {
        ca_config_map,
        not_after,
    };
    (tls != TlsStatus::default()).then_some(tls)
}

#[cfg(test)]
mod tests;
