//! Settings of the Pods. A Registry's author is not the cluster's administrator: there is no way to
//! change the command or to run as root, and volumes are only of types PodSecurity `restricted` allows.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::common::{KeyRef, annotations, labels, object_name};
use crate::scaling::DisruptionBudget;

/// Settings of the Pods.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Further labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('berth.dev/') && !k.startsWith('app.kubernetes.io/'))")
            .message("spec.pod.labels must not contain berth.dev/ and app.kubernetes.io/ keys: the operator sets them")
    )]
    pub labels: BTreeMap<String, String>,
    /// Further annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('berth.dev/'))")
            .message("spec.pod.annotations must not contain berth.dev/ keys: the operator sets them"),
        validation = Rule::new("self.all(k, !k.startsWith('container.apparmor.security.beta.kubernetes.io/') && !k.startsWith('seccomp.security.alpha.kubernetes.io/') && !k.startsWith('container.seccomp.security.alpha.kubernetes.io/'))")
            .message("spec.pod.annotations must not set AppArmor or seccomp profiles: the operator sets the security context")
    )]
    pub annotations: BTreeMap<String, String>,
    /// Requests and limits of the server's container. When absent, the operator sets small requests and no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || !isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || !quantity(string(self.requests[k])).isGreaterThan(quantity(string(self.limits[k]))))")
            .message("spec.pod.resources.requests must not be above spec.pod.resources.limits")
    )]
    pub resources: Option<ResourceRequirements>,
    /// User and groups of the server's process; 65532 for each when the whole field is absent. When it is there, only what it
    /// has is set: `{}` leaves all of them to the cluster, as OpenShift's `restricted-v2` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the Pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,
    /// Rules for the nodes on which the Pods run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Rules for the spread of the Pods over the cluster. When absent, several Pods are spread over nodes and zones where
    /// that is possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["topologyKey".into(), "whenUnsatisfiable".into()]))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Whether the Pods are protected from being evicted at the same time.
    #[serde(default)]
    pub disruption_budget: DisruptionBudget,
    /// Priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub priority_class_name: Option<String>,
    /// Annotations of the ServiceAccount the Pods run as.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub service_account_annotations: BTreeMap<String, String>,
    /// Further environment variables of the server's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(e, !e.name.startsWith('REGISTRY_'))")
            .message("spec.pod.env must not contain REGISTRY_ variables: use spec.config, whose keys are checked")
    )]
    pub env: Vec<EnvVar>,
    /// Further volumes, mounted read-only into the server's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(v, !(v.name in ['config', 'credentials', 'data', 'tls', 'htpasswd', 'tmp']))")
            .message("spec.pod.volumes must not be named config, credentials, data, tls, htpasswd or tmp: the operator uses these names")
    )]
    pub volumes: Vec<Volume>,
}

/// User and groups of the server's process. It never runs as root.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext {
    /// User; the cluster's choice when absent. The server's image names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Group; the cluster's choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Group that gets the files of the volume; the cluster's choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub fs_group: Option<i64>,
}

/// An environment variable with a value or a source.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.valueFrom)")
        .message("spec.pod.env must give each variable exactly one of value and valueFrom")
)]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$')")
            .message("spec.pod.env.name must be letters, digits, dots, dashes and underscores, and must not begin with a digit")
    )]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub value: Option<String>,
    /// The source of its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// The source of a variable's value. Exactly one.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
        .message("spec.pod.env.valueFrom must have exactly one of secretKeyRef and configMapKeyRef")
)]
pub struct EnvVarSource {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A volume and its mount path. Exactly one source.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secret) != has(self.configMap)")
        .message("spec.pod.volumes must give each volume exactly one of secret and configMap")
)]
pub struct Volume {
    /// Name of the volume.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("spec.pod.volumes.name must be lower-case letters, digits and dashes")
    )]
    pub name: String,
    /// Absolute path it is mounted at.
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^(/[^/:]+)+$') && !self.contains('..') && !self.matches('/[.](/|$)') && !['/etc/berth', '/var/lib/registry', '/tmp', '/bin', '/etc/ssl', '/proc', '/sys', '/dev'].exists(p, self == p || self.startsWith(p + '/') || p.startsWith(self + '/'))")
            .message("spec.pod.volumes.mountPath must be an absolute path that is not in, and does not hold, /etc/berth, /var/lib/registry, /tmp, /bin, /etc/ssl, /proc, /sys or /dev")
    )]
    pub mount_path: String,
    /// The keys of a Secret as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<crate::ObjectName>,
    /// The keys of a ConfigMap as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<crate::ObjectName>,
}
