//! Seventh step: whether the registry answers where clients will look for it, asked before Ready is reported.
//!
//! Kubernetes calls a Pod ready before every proxy knows it: kube-proxy and Ingress controllers follow a moment later,
//! and a push in that moment fails. So `/v2/` is requested through the Service's address and through the Ingress's, as
//! a client would. When a Pod is not ready, its own probe is asked for the reason. Guarantees: requests carry no
//! credentials and have a time limit. Must not: probe again once Ready is reported; a proxy that fails later is a
//! matter for monitoring.
//! Start at [`findings`].

mod address;
mod failing;
mod readyz;
mod request;

use std::time::Instant;

use operator_api::Registry;

use crate::children::{Children, Live};
use crate::conditions::READY;
use crate::findings::{Findings, ProbeFailure};
use crate::read::Facts;
use crate::validate::ValidatedRegistry;
pub use failing::FailingProbes;

/// Adds to `findings` what a probe shows.
///
/// An address that the operator cannot reach at all (a network policy, an operator outside the cluster) must not keep
/// Ready away for ever, so an unreachable address counts for a while only. A wrong answer counts always: clients get it
/// too.
pub async fn findings(
    failing: &FailingProbes,
    registry: &Registry,
    validated: &ValidatedRegistry,
    children: &Children<Live>,
    facts: &Facts,
    mut findings: Findings,
) -> Findings {
    let subject = &validated.subject;
    // The status of a paused Registry, or of one with problems, is not about the probe.
    if validated.paused || validated.workload.is_none() {
        failing.succeeded(subject);
        return findings;
    }
    if !findings.up() || reported_ready(registry) {
        failing.succeeded(subject);
        if !findings.up() && findings.pod_problem.is_none() {
            findings.pod_problem = readyz::reason(&facts.pods).await;
        }
        return findings;
    }
    let Some(failure) = address::first_failure(validated, children).await else {
        failing.succeeded(subject);
        return findings;
    };
    findings.probe_failing_for_long = failing.for_long(subject, Instant::now());
    findings.probe_failure = match failure {
        ProbeFailure::Unreachable(_) if findings.probe_failing_for_long => None,
        failure => Some(failure),
    };
    findings
}

/// Whether the status says Ready for the current spec.
fn reported_ready(registry: &Registry) -> bool {
    let conditions = registry.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|condition| condition.type_ == READY);
    ready.any(|c| c.status == "True" && c.observed_generation == registry.metadata.generation)
}
