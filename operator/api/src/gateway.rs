//! How clients reach the registry through the Gateway API.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::object_name;

/// An HTTPRoute of the Gateway API, without time limits, so that a push may last as long as it needs. Where the server
/// has TLS, a BackendTLSPolicy lets the Gateway verify its certificate. Both are made as soon as the cluster has the kinds.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways, or ListenerSets, that take the route, at least one. Their listeners end TLS for the hosts.
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.size() > 0")
            .message("spec.httpRoute.parentRefs must name at least one Gateway")
    )]
    pub parent_refs: Vec<ParentRef>,
    /// Host names the registry is published under; those of the listeners when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(h, !isIP(h) && h.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))")
            .message("spec.httpRoute.hostnames must hold lower-case host names without a port such as registry.example.com")
    )]
    pub hostnames: Vec<String>,
}

/// A TLSRoute of the Gateway API: TLS passes the Gateway, and clients see the server's own certificate, which names the
/// hosts when the operator makes it. The listeners must have the mode `Passthrough`. It is made as soon as the cluster has the
/// kind.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// The Gateways, or ListenerSets, that take the route, at least one.
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.size() > 0")
            .message("spec.tlsRoute.parentRefs must name at least one Gateway")
    )]
    pub parent_refs: Vec<ParentRef>,
    /// Host names the registry is published under, at least one.
    #[schemars(length(max = 16), inner(length(max = 253)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() > 0 && self.all(h, !isIP(h) && h.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))")
            .message("spec.tlsRoute.hostnames must hold lower-case host names without a port such as registry.example.com, at least one")
    )]
    pub hostnames: Vec<String>,
}

/// A Gateway or a ListenerSet.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Kind of the parent.
    #[serde(default)]
    pub kind: ParentKind,
    /// Name of the parent.
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Namespace of the parent; the Registry's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub namespace: Option<String>,
    /// Name of one listener; all that take the route when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub section_name: Option<String>,
}

/// Kind of a route's parent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ParentKind {
    /// A Gateway.
    #[default]
    Gateway,
    /// A ListenerSet.
    ListenerSet,
}

impl ParentKind {
    /// The value in the Gateway API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
        }
    }
}
