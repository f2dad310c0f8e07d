//! Objects of kinds that a cluster may not have: those of the Prometheus operator and of the Gateway API.
//!
//! They have a table of their own beside `children`, because their types are not Kubernetes' and because they are only
//! read, written and watched while the cluster has the kind. No Pod depends on one.
//! Guarantees: an absent kind is no error. Must not: talk to the API server.
//! Start at [`OptionalKind`].

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};

/// A kind that a cluster may not have.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum OptionalKind {
    /// Tells Prometheus which Pods to ask for metrics.
    PodMonitor,
    /// Leads requests of a Gateway to the Service.
    HttpRoute,
    /// Leads TLS connections of a Gateway to the Service.
    TlsRoute,
    /// Tells a Gateway how to verify the server's certificate.
    BackendTlsPolicy,
}

impl OptionalKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::PodMonitor,
        Self::HttpRoute,
        Self::TlsRoute,
        Self::BackendTlsPolicy,
    ];

    /// Its name, group and version.
    pub fn resource(self) -> ApiResource {
        let (group, kind, plural) = match self {
            Self::PodMonitor => ("monitoring.coreos.com", "PodMonitor", "podmonitors"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
            Self::TlsRoute => ("gateway.networking.k8s.io", "TLSRoute", "tlsroutes"),
            Self::BackendTlsPolicy => (
                "gateway.networking.k8s.io",
                "BackendTLSPolicy",
                "backendtlspolicies",
            ),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural)
    }
}

/// A Registry's optional objects, for each kind that the cluster has.
#[derive(Clone, Debug, Default)]
pub struct OptionalObjects(pub BTreeMap<OptionalKind, Option<DynamicObject>>);

impl OptionalObjects {
    /// Whether the cluster has the kind.
    pub fn has_kind(&self, kind: OptionalKind) -> bool {
        self.0.contains_key(&kind)
    }

    /// Whether one of the wanted objects has to be made.
    pub fn lacks_any(&self, wanted: Option<&[(OptionalKind, DynamicObject)]>) -> bool {
        let mut kinds = wanted.unwrap_or_default().iter().map(|(kind, _)| kind);
        kinds.any(|kind| self.0.get(kind).is_some_and(Option::is_none))
    }
}
