//! The number of Pods, how many may be away at once, and which image they run after an upgrade of the operator.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Replicas by load. The operator makes a HorizontalPodAutoscaler, which then sets the Deployment's replicas. It needs a
/// source of metrics in the cluster, and a CPU request of the Pods, which the operator sets where the spec does not.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("spec.autoscaling.minReplicas must not be above spec.autoscaling.maxReplicas")
)]
pub struct Autoscaling {
    /// Fewest Pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub min_replicas: i32,
    /// Most Pods.
    #[schemars(range(min = 1, max = 64))]
    pub max_replicas: i32,
    /// Share of the requested CPU that the Pods should use on average, in percent.
    #[serde(default = "eighty", rename = "targetCPUUtilizationPercentage")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_utilization_percentage: i32,
}

fn one() -> i32 {
    1
}

fn eighty() -> i32 {
    80
}

/// Whether the Pods are protected from being evicted at the same time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DisruptionBudget {
    /// From two replicas on, a PodDisruptionBudget lets one Pod be evicted at a time.
    #[default]
    Enabled,
    /// There is no PodDisruptionBudget of the operator's.
    Disabled,
}

/// Whether an upgrade of the operator changes the server's image.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum UpgradePolicy {
    /// The Pods get the image of the operator's version. A few Registries of the cluster are upgraded at a time.
    #[default]
    Automatic,
    /// The Pods keep the image that they run.
    Manual,
}
