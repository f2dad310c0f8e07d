//! Sixth step: the state of the registry, as far as the live objects show it.
//!
//! Guarantees: pure; nothing counts as ready that a client could not use. Must not: write a sentence, which `report`
//! does. Start at [`findings`].

use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimStatus, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::children::{Children, Live};
use crate::findings::{Findings, PodProblem, Rollout};
use crate::read::Facts;

/// Looks at the children as they are after `apply`, and at the endpoints and Pods that `read` found.
pub fn findings(children: &Children<Live>, facts: &Facts) -> Findings {
    let deployment = children.deployment.as_ref();
    let claim = children.claim.as_ref().or(facts.named_claim.as_ref());
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let available = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|all| all.iter().any(|c| c.type_ == "Available" && c.status == "True"));
    let claim_status = claim.and_then(|claim| claim.status.as_ref());
    let capacity = claim_status.and_then(|status| Some(status.capacity.as_ref()?.get("storage")?.0.clone()));
    // A claim that was never bound holds nothing that could be lost.
    let bound =
        |status: &PersistentVolumeClaimStatus| matches!(status.phase.as_deref(), Some("Bound" | "Lost"));
    let claim_uid = claim
        .filter(|_| claim_status.is_some_and(bound))
        .and_then(|claim| claim.metadata.uid.clone());
    let unbound_claim = claim.and_then(|claim| {
        let phase = claim_status
            .and_then(|status| status.phase.clone())
            .unwrap_or_else(|| "Pending".to_owned());
        (phase != "Bound").then(|| (claim.metadata.name.clone().unwrap_or_default(), phase))
    });
    Findings {
        rollout: deployment.map_or(Rollout::Absent, Rollout::of),
        available,
        replicas: status.and_then(|status| status.replicas).unwrap_or(0),
        ready_replicas: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        reachable: has_ready_endpoint(&facts.endpoints),
        pod_problem: refused(status).or_else(|| facts.pods.iter().find_map(problem_of)),
        probe_failure: None,
        probe_failing_for_long: false,
        unbound_claim,
        claim_uid,
        capacity,
    }
}

fn has_ready_endpoint(slices: &[EndpointSlice]) -> bool {
    let mut endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    // The API defines that an absent `ready` means ready.
    endpoints.any(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    })
}

fn refused(status: Option<&DeploymentStatus>) -> Option<PodProblem> {
    let failure = status?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(PodProblem::Refused(failure.message.clone().unwrap_or_default()))
}

fn problem_of(pod: &Pod) -> Option<PodProblem> {
    let name = || pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if let Some(scheduled) = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled")
        && scheduled.status == "False"
        && scheduled.reason.as_deref() == Some("Unschedulable")
    {
        let message = scheduled.message.clone().unwrap_or_default();
        return Some(PodProblem::Unschedulable { pod: name(), message });
    }
    let container = status.container_statuses.as_ref()?.first()?;
    let reason = container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            Some(PodProblem::Image {
                pod: name(),
                image: container.image.clone(),
            })
        }
        "CrashLoopBackOff" => {
            let last = container
                .last_state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            Some(PodProblem::Crashing {
                pod: name(),
                exit_code: last.map(|last| last.exit_code),
                message: last.and_then(|last| last_error(last.message.as_deref()?)),
            })
        }
        "ContainerCreating" | "PodInitializing" => None,
        other => Some(PodProblem::Container {
            pod: name(),
            reason: other.to_owned(),
        }),
    }
}

/// The error with which the server exited, out of the last lines of its log. The lines of the log itself hold times and
/// numbers that differ with each try. The error is the same each time and holds nothing of a Secret.
fn last_error(log: &str) -> Option<String> {
    let said = |prefix: &str| log.lines().rev().find_map(|line| line.strip_prefix(prefix));
    let error = said("error: ").filter(|error| !error.is_empty())?;
    Some(match said("hint: ") {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::last_error;

    #[test]
    fn the_servers_last_error_is_found_among_the_lines_of_its_log() {
        let log = "time=\"2026-03-01T12:00:00Z\" level=warning msg=\"error: not this\"\n\
                   warning: /etc/berth/config/config.yml: `a` is not a known key\n\
                   error: the store belongs to `quay/pier`\n\
                   hint: name another folder\n";
        let message = last_error(log);
        assert_eq!(
            message.as_deref(),
            Some("the store belongs to `quay/pier`; name another folder")
        );
        assert_eq!(last_error("error: a\nerror: b\n").as_deref(), Some("b"));
        for nothing in ["", "panicked at somewhere", "error: ", "an error: elsewhere"] {
            assert_eq!(last_error(nothing), None, "{nothing}");
        }
    }
}
