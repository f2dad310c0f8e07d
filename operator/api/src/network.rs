//! The NetworkPolicy of the Pods.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Peers that may connect to the Pods. The operator may in any case; connections that the Pods make are not limited. It has an
/// effect where the cluster's network enforces NetworkPolicies.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Clients and Ingress controllers that may use the registry; every Pod of the Registry's namespace when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub from: Vec<NetworkPolicyPeer>,
    /// Peers that may read the server's metrics; none when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub metrics_from: Vec<NetworkPolicyPeer>,
}
