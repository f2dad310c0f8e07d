//! Sixth step: the state of the registry, as far as the live objects show it.
//!
//! Guarantees: pure; nothing counts as ready that a client could not use. Must not: write a sentence, which `report`
//! does. Start at [`findings`].

mod claims;
mod pods;

use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimStatus, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::children::{Children, Found, Live};
use crate::findings::{Findings, PodProblem, Rollout};
use crate::pod_layout::CONTAINER;
use crate::read::Facts;

/// Looks at the children as they are after `apply`, and at the endpoints and Pods that `read` found.
pub fn findings(children: &Children<Live>, facts: &Facts) -> Findings {
    let deployment = children.deployment.as_ref();
    let spec = deployment.and_then(|deployment| deployment.spec.as_ref());
    let claim = children.claim.as_ref().or(facts.named_claim.as_ref());
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
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
    let template = spec.and_then(|spec| spec.template.spec.as_ref());
    Findings {
        rollout: deployment.map_or(Rollout::Absent, Rollout::of),
        wanted: spec.map_or(0, |spec| spec.replicas.unwrap_or(1)),
        replicas: status.and_then(|status| status.replicas).unwrap_or(0),
        ready_replicas: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        // A Service of somebody else has endpoints too.
        reachable: !matches!(facts.existing.service, Found::Foreign) && has_ready_endpoint(&facts.endpoints),
        pod_problem: refused(status).or_else(|| pods::first_problem(&facts.pods)),
        as_asked: false,
        endpoints: Vec::new(),
        node_port: children.service.as_ref().and_then(node_port),
        unbound_claim,
        claim_uid,
        claim_problem: None,
        resize: claim.and_then(claims::resize),
        used_percent: None,
        capacity,
        image: template.and_then(|template| {
            let mut containers = template.containers.iter();
            containers.find(|c| c.name == CONTAINER)?.image.clone()
        }),
        verification: None,
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

/// The port on every node. A headless Service or one for the cluster alone has none.
fn node_port(service: &Service) -> Option<i32> {
    let mut ports = service.spec.as_ref()?.ports.iter().flatten();
    ports.find_map(|port| port.node_port.filter(|port| *port != 0))
}

fn refused(status: Option<&DeploymentStatus>) -> Option<PodProblem> {
    let failure = status?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(PodProblem::Refused(failure.message.clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_port_on_every_node_is_told_once_kubernetes_has_chosen_it() {
        let service = |ports| serde_json::from_value(json!({ "spec": { "ports": ports } })).unwrap();
        assert_eq!(node_port(&service(json!([{ "port": 5000 }]))), None);
        assert_eq!(
            node_port(&service(json!([{ "port": 5000, "nodePort": 0 }]))),
            None
        );
        assert_eq!(
            node_port(&service(json!([{ "port": 5000, "nodePort": 30500 }]))),
            Some(30500)
        );
    }
}
