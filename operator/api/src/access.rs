//! How clients reach the server: its HTTP settings, the Service and the Ingress.

use std::collections::BTreeMap;

use kube::KubeSchema;
use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{SecretKeyRef, annotations, duration, labels, object_name};

/// The server's HTTP settings.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// The secret that signs the state of uploads, at least 16 bytes. One is generated, and kept, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// Earlier secrets that are still accepted, so that running uploads survive a rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub previous_secret_key_refs: Vec<SecretKeyRef>,
    /// How long running requests may go on when a Pod is stopped. The Pod's grace period is this plus 15 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(
        validation = Rule::new("duration(self) <= duration('24h')")
            .message("spec.http.drainTimeout must be at most 24h")
    )]
    pub drain_timeout: Option<Duration>,
    /// Networks of proxies whose `X-Forwarded-*` headers are trusted; all networks when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(c, isCIDR(c))")
            .message("spec.http.trustedProxies must hold networks such as 10.0.0.0/8")
    )]
    pub trusted_proxies: Vec<String>,
}

/// The Service in front of the Pods.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.nodePort) || self.type != 'ClusterIP'")
        .message("spec.service.nodePort needs spec.service.type NodePort or LoadBalancer"),
    validation = Rule::new("!has(self.loadBalancerClass) || self.type == 'LoadBalancer'")
        .message("spec.service.loadBalancerClass needs spec.service.type LoadBalancer"),
    validation = Rule::new("self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass)")
        .message("spec.service.loadBalancerClass cannot be changed while spec.service.type is LoadBalancer: set another type first"),
    validation = Rule::new("!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'")
        .message("spec.service.externalTrafficPolicy needs spec.service.type NodePort or LoadBalancer"),
    validation = Rule::new("!has(self.loadBalancerSourceRanges) || self.type == 'LoadBalancer'")
        .message("spec.service.loadBalancerSourceRanges needs spec.service.type LoadBalancer"),
    validation = Rule::new("!has(self.ipFamilies) || self.ipFamilies.size() < 2 || has(self.ipFamilyPolicy) && self.ipFamilyPolicy != 'SingleStack'")
        .message("spec.service.ipFamilies with two families needs spec.service.ipFamilyPolicy PreferDualStack or RequireDualStack"),
    validation = Rule::new("!has(self.ipFamilies) || !has(oldSelf.ipFamilies) || self.ipFamilies[0] == oldSelf.ipFamilies[0]")
        .message("the first of spec.service.ipFamilies cannot be changed: Kubernetes gives the Service its address from it")
)]
pub struct Service {
    /// How the Service is published.
    #[serde(rename = "type", default)]
    pub type_: ServiceType,
    /// Port of the Service.
    #[serde(default = "registry_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Port on every node; chosen by Kubernetes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
    /// Which load balancer implementation takes the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(
        validation = Rule::new("self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')")
            .message("spec.service.loadBalancerClass must be a name, with a prefix if needed, such as example.com/internal")
    )]
    pub load_balancer_class: Option<String>,
    /// Networks whose clients the load balancer lets through; all when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(c, isCIDR(c))")
            .message("spec.service.loadBalancerSourceRanges must hold networks such as 192.0.2.0/24")
    )]
    pub load_balancer_source_ranges: Vec<String>,
    /// Whether requests from outside the cluster stay on the node they arrive at (`Local`, which keeps the client's
    /// address) or go to any Pod (`Cluster`, Kubernetes' default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// Whether requests from inside the cluster go to Pods of the same node only (`Local`) or to any Pod (`Cluster`,
    /// Kubernetes' default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<TrafficPolicy>,
    /// How many IP families the Service has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// IP families of the Service, the most important first; the cluster's default when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.size() < 2 || self[0] != self[1]")
            .message("spec.service.ipFamilies must not name a family twice")
    )]
    pub ip_families: Vec<IpFamily>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.contains('snippet') && !k.contains('/config-') && !k.startsWith('zalando.org/skipper-'))")
            .message("spec.service.annotations must not put text into the configuration of a proxy (*snippet*, */config-*, zalando.org/skipper-*): it would run in the Ingress controller")
    )]
    pub annotations: BTreeMap<String, String>,
    /// Further labels of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('berth.dev/') && !k.startsWith('app.kubernetes.io/'))")
            .message("spec.service.labels must not contain berth.dev/ and app.kubernetes.io/ keys: the operator sets them")
    )]
    pub labels: BTreeMap<String, String>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            type_: ServiceType::default(),
            port: registry_port(),
            node_port: None,
            load_balancer_class: None,
            load_balancer_source_ranges: Vec::new(),
            external_traffic_policy: None,
            internal_traffic_policy: None,
            ip_family_policy: None,
            ip_families: Vec::new(),
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

fn registry_port() -> i32 {
    5000
}

/// How a Service is published.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// By a load balancer of the cluster's provider.
    LoadBalancer,
}

impl ServiceType {
    /// The value in Kubernetes' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// Which Pods a request may go to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum TrafficPolicy {
    /// Any Pod.
    Cluster,
    /// Pods of the node the request arrives at, or comes from.
    Local,
}

impl TrafficPolicy {
    /// The value in Kubernetes' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

/// How many IP families a Service has; `SingleStack` when absent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum IpFamilyPolicy {
    /// One.
    SingleStack,
    /// Two where the cluster has two.
    PreferDualStack,
    /// Two.
    RequireDualStack,
}

impl IpFamilyPolicy {
    /// The value in Kubernetes' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleStack => "SingleStack",
            Self::PreferDualStack => "PreferDualStack",
            Self::RequireDualStack => "RequireDualStack",
        }
    }
}

/// An IP family.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum IpFamily {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

impl IpFamily {
    /// The value in Kubernetes' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        }
    }
}

/// The Ingress. It carries what large uploads need: no limit on the body, no buffering, long timeouts.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.annotations) || self.annotations.all(k, !k.contains('snippet') && !k.contains('/config-') && !k.startsWith('zalando.org/skipper-'))")
        .message("spec.ingress.annotations must not put text into the configuration of a proxy (*snippet*, */config-*, zalando.org/skipper-*): it would run in the Ingress controller"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(k, !(k in ['nginx.ingress.kubernetes.io/backend-protocol', 'nginx.ingress.kubernetes.io/ssl-passthrough', 'nginx.ingress.kubernetes.io/proxy-ssl-secret', 'nginx.ingress.kubernetes.io/proxy-ssl-verify', 'nginx.ingress.kubernetes.io/proxy-ssl-name', 'nginx.ingress.kubernetes.io/proxy-ssl-server-name']))")
        .message("spec.ingress.annotations must not say where TLS ends: set spec.ingress.tls.mode instead")
)]
pub struct Ingress {
    /// Class of the Ingress; the cluster's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub class_name: Option<String>,
    /// Host names the registry is published under, at least one. The first is the one `status.url` names.
    #[schemars(length(max = 32), inner(length(max = 253)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() > 0")
            .message("spec.ingress.hosts must name at least one host"),
        validation = Rule::new("self.all(h, !isIP(h))")
            .message("spec.ingress.hosts must hold host names, not IP addresses: an Ingress routes by name"),
        validation = Rule::new("self.all(h, h.size() > 0)")
            .message("spec.ingress.hosts must not contain an empty host"),
        validation = Rule::new("self.all(h, h.size() == 0 || h.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))")
            .message("spec.ingress.hosts must hold lower-case host names without a port such as registry.example.com")
    )]
    pub hosts: Vec<String>,
    /// Further annotations of the Ingress; they win over those the operator sets for body size and timeouts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// TLS of the Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressTls>,
}

/// TLS of the Ingress.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.secretName) || !has(self.mode) || self.mode != 'Passthrough'")
        .message("spec.ingress.tls.secretName has no use with mode Passthrough: clients see the server's own certificate")
)]
pub struct IngressTls {
    /// Where TLS ends; `Reencrypt` when the server has TLS, else `Edge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<IngressTlsMode>,
    /// A `kubernetes.io/tls` Secret with the certificate for the hosts. The operator makes one from the
    /// Registry's own CA when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub secret_name: Option<String>,
}

/// Where TLS ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum IngressTlsMode {
    /// At the Ingress, which sends plain HTTP to the server. The server must have `spec.tls.disabled`.
    Edge,
    /// At the Ingress and at the server. The Ingress verifies the server's certificate.
    Reencrypt,
    /// At the server; the Ingress forwards the connection by its SNI.
    Passthrough,
}
