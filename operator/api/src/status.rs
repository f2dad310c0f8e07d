//! The status, which the operator writes. The conventions are those of the Kubernetes API and of kstatus.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a Registry when it was last reconciled.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// The generation this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: clients are served now, or no replica is asked for; also while a change is rolled out or refused. `Reconciling`: something is not
    /// yet as asked; its message says what. `Stalled`: a person must act; its message says how. `Available`: the
    /// Service leads to a ready Pod. `CertificateValid`: the certificates that clients see are valid and cover the
    /// host names; absent without TLS. `StorageHealthy`: the volume is there, or the servers reach the object store.
    /// `Verified`: an artifact was pushed to `url` and pulled; absent while nobody asks for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The address for clients: the first of `endpoints` at which this Registry answered under a certificate that
    /// covers the host. Absent until one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Every address at which clients may look for the registry, the preferred one first: `spec.publicURL`, the
    /// Ingress's hosts, the load balancer, the Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["url".into()]))]
    pub endpoints: Vec<Endpoint>,
    /// The port on every node that leads to the registry, with `spec.service.type` NodePort or LoadBalancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<i32>,
    /// Number of Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Number of ready Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Label selector of the Pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The value of the annotation `reconcile.fluxcd.io/requestedAt` that was last reconciled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Version of the operator that wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
    /// The server's image, of the last rollout that was completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Since when the operator has waited for what `Reconciling` or `Stalled` names. After five minutes it is `Stalled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,
    /// State of the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// State of the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsStatus>,
    /// The latest verification by a push and a pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
}

/// The latest verification by a push and a pull. The condition `Verified` has its result.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// The value of the annotation `berth.dev/verify` that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<String>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When it succeeded; absent when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// A hash of what was served: image, configuration, address and certificate; absent when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
}

/// An address.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct Endpoint {
    /// Kind of the address.
    #[serde(rename = "type")]
    pub type_: EndpointType,
    /// The address.
    pub url: String,
    /// The state of the address, by the operator's requests.
    #[serde(default)]
    pub state: EndpointState,
    /// Why the address is not verified, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the address is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Kind of an address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum EndpointType {
    /// The address in `spec.publicURL`.
    Public,
    /// The Ingress.
    Ingress,
    /// The load balancer of the Service.
    LoadBalancer,
    /// The Service, inside the cluster.
    Service,
}

/// The state of an address, by the operator's requests.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum EndpointState {
    /// No request has been answered yet.
    #[default]
    Pending,
    /// This Registry answered, under a certificate that covers the host.
    Verified,
    /// Something else answers, or the certificate does not cover the host or has expired.
    Failed,
    /// The operator's requests do not get there; clients' requests may.
    Unreachable,
    /// `spec.probe` is `Disabled`.
    NotProbed,
}

/// State of the storage.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// The backend in use: `persistentVolumeClaim`, `s3`, `azure`, `gcs` or `emptyDir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The claim in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,
    /// UID of the claim in use, once its volume is bound. When the claim is gone or another one has its name, the operator
    /// does not go on with an empty one until the annotation `berth.dev/accept-empty-storage` names this UID.
    #[serde(default, rename = "claimUID", skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    /// The folder in the object store: the host of a named endpoint, Azure's account, the bucket or container, and the
    /// prefix, joined by slashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Capacity of the bound volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// How full the file system with the content is, in percent and in steps of 5; absent with an object store. From 90
    /// on `StorageHealthy` is False.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_percent: Option<i32>,
}

/// State of the server's certificate.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsStatus {
    /// The ConfigMap whose key `ca.crt` holds the CAs that clients must trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<String>,
    /// When the server's certificate expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}
