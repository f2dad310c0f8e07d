//! Seventh step: what the registry itself and its addresses answered when they were asked last.
//!
//! Kubernetes calls a Pod ready before every proxy knows it: kube-proxy and Ingress controllers follow a moment later,
//! and a push in that moment fails. So `/v2/` is requested at every address, as a client would. When a Pod is not ready,
//! its own probe is asked for the reason; when a claim is not bound, its events are read. Where a person asks for it, an
//! artifact is pushed and pulled. A Pod is asked how full its file system is. Guarantees: the step never
//! waits, because the questions are asked by tasks in the background, which start a reconcile when an answer changes;
//! requests have a time limit and, but for those that push and pull, no credentials. Must not: decide what is Ready, which `report` does.
//! Start at [`findings`]; [`Prober`] has the tasks.

mod address;
mod ask;
mod claim;
mod prober;
mod push;
mod readyz;
mod record;
mod request;
mod usage;
mod verification;
mod verifier;

use operator_api::{Endpoint, EndpointState, Probe, Registry};

use crate::children::{Children, Live};
use crate::conditions::READY;
use crate::findings::Findings;
use crate::read::Facts;
use crate::validate::ValidatedRegistry;
use address::Address;
pub use prober::Prober;
use prober::Questions;
use record::Answer;

/// Adds to `findings` what was answered last, and sees to it that the right questions are asked from now on.
pub fn findings(
    prober: &Prober,
    registry: &Registry,
    validated: &ValidatedRegistry,
    children: &Children<Live>,
    facts: &Facts,
    mut findings: Findings,
) -> Findings {
    let addresses = address::addresses(validated, children);
    let probed = registry.spec.probe == Probe::Enabled;
    let questions = Questions {
        // Without a ready Pod there is nothing to learn, and what was known before a loss of all Pods is forgotten.
        addresses: match probed && findings.available() {
            true => addresses.clone(),
            false => Vec::new(),
        },
        unready_pods: match findings.pod_problem {
            None if !findings.rolled_out() => readyz::unready(&facts.pods),
            _ => Vec::new(),
        },
        shares_a_host: validated.shares_a_host,
        unbound_claim: findings.unbound_claim.as_ref().map(|(name, _)| name.clone()),
        file_system_at: usage::address(validated, facts),
    };
    let answers = prober.ask(&validated.subject, questions);
    if findings.pod_problem.is_none() {
        findings.pod_problem.clone_from(&answers.pod_problem);
    }
    findings.claim_problem.clone_from(&answers.claim_problem);
    findings.used_percent = answers.used_percent;
    let known = Known::of(registry, findings.available());
    let endpoint = |address: Address| {
        let answer = answers.addresses.get(&address).unwrap_or(&Answer::Unknown);
        match probed {
            true => known.endpoint(&address, answer),
            false => address.endpoint(EndpointState::NotProbed, None),
        }
    };
    findings.endpoints = addresses.iter().cloned().map(endpoint).collect();
    let verifier = prober.verifier();
    findings.verification =
        verification::verification(verifier, registry, validated, children, &addresses, &findings);
    findings
}

/// The status before this reconcile.
struct Known<'a> {
    endpoints: &'a [Endpoint],
    /// Whether a state holds until there is another answer.
    holds: bool,
}

impl<'a> Known<'a> {
    fn of(registry: &'a Registry, available: bool) -> Self {
        let status = registry.status.as_ref();
        let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
        let ready = conditions.any(|c| c.type_ == READY && c.status == "True");
        Self {
            endpoints: status.map_or(&[], |status| &status.endpoints),
            // Proxies may not know the Pods of a registry that has not served until now: it has to be asked again.
            holds: ready || !available,
        }
    }

    /// The address with its state. A failure counts when it has lasted. Until then, and while there is no answer (an
    /// operator that has just started, a registry without Pods), the state stays as it was.
    fn endpoint(&self, address: &Address, answer: &Answer) -> Endpoint {
        let mut known = self.endpoints.iter();
        let known = known.find(|known| known.url == address.url && known.type_ == address.type_);
        let known = known.filter(|_| self.holds).cloned();
        match answer {
            Answer::Verified => address.endpoint(EndpointState::Verified, None),
            Answer::Failing {
                failure,
                lasting: true,
            } => address.endpoint(failure.state, Some(failure)),
            Answer::Failing {
                failure,
                lasting: false,
            } => known.unwrap_or_else(|| address.endpoint(EndpointState::Pending, Some(failure))),
            Answer::Unknown => known.unwrap_or_else(|| address.endpoint(EndpointState::Pending, None)),
        }
    }
}

#[cfg(test)]
mod tests;
