//! The PodDisruptionBudget: a drained node takes one Pod away at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use operator_api::DisruptionBudget;

use super::metadata::owned;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::Workload;

/// The budget, from two replicas on: with a single one it would keep every node from being drained.
pub(super) fn disruption_budget(
    registry: &ValidatedRegistry,
    workload: &Workload,
) -> Option<PodDisruptionBudget> {
    let wanted = workload.pod.disruption_budget == DisruptionBudget::Enabled && workload.replicas.least() > 1;
    wanted.then(|| PodDisruptionBudget {
        metadata: owned(registry, registry.names.disruption_budget()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(registry.names.selector()),
                ..Default::default()
            }),
            // A Pod that is not ready serves nobody, and must not hold up the drain of its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..Default::default()
        }),
        status: None,
    })
}
