//! The objects of kinds that a cluster may not have.

use kube::api::DynamicObject;
use operator_api::{HttpRoute, Metrics, Monitor, ParentRef, TlsRoute};
use serde_json::{Value, json};

use super::ingress::verified_name;
use super::metadata::owned;
use super::ports::PROBES_PORT;
use crate::optional::OptionalKind;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::Scheme;

/// The objects that `registry` asks for.
pub(super) fn objects(registry: &ValidatedRegistry) -> Vec<(OptionalKind, DynamicObject)> {
    let mut all = Vec::new();
    if let Some(metrics) = registry
        .metrics
        .as_ref()
        .filter(|m| m.pod_monitor == Monitor::Enabled)
    {
        all.push(pod_monitor(registry, metrics));
    }
    if let Some(route) = &registry.http_route {
        all.push(http_route(registry, route));
        let name = registry.tls.as_ref().and_then(|tls| verified_name(registry, tls));
        // Without a CA, or for a name that the certificate does not have, every request would fail.
        if let Some(name) = name.filter(|_| registry.scheme == Scheme::Https) {
            all.push(backend_tls_policy(registry, &name));
        }
    }
    all.extend(
        registry
            .tls_route
            .as_ref()
            .map(|route| tls_route(registry, route)),
    );
    all
}

fn object(registry: &ValidatedRegistry, kind: OptionalKind, spec: Value) -> (OptionalKind, DynamicObject) {
    let mut object = DynamicObject::new("", &kind.resource()).data(json!({ "spec": spec }));
    object.metadata = owned(registry, registry.names.optional());
    (kind, object)
}

fn pod_monitor(registry: &ValidatedRegistry, metrics: &Metrics) -> (OptionalKind, DynamicObject) {
    let mut endpoint = json!({ "port": PROBES_PORT, "path": "/metrics", "scheme": "http" });
    if let Some(interval) = &metrics.interval {
        endpoint["interval"] = json!(interval);
    }
    let spec = json!({
        "selector": { "matchLabels": registry.names.selector() },
        "podMetricsEndpoints": [endpoint],
    });
    let (kind, mut object) = object(registry, OptionalKind::PodMonitor, spec);
    let mut labels = metrics.labels.clone();
    labels.extend(object.metadata.labels.take().unwrap_or_default());
    object.metadata.labels = Some(labels);
    (kind, object)
}

fn http_route(registry: &ValidatedRegistry, route: &HttpRoute) -> (OptionalKind, DynamicObject) {
    let mut spec = json!({
        "parentRefs": parents(&route.parent_refs),
        "rules": [{
            "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
            "backendRefs": [service(registry)],
            // Zero means none: a layer of many gigabytes over a slow line takes long.
            "timeouts": { "request": "0s", "backendRequest": "0s" },
        }],
    });
    if !route.hostnames.is_empty() {
        spec["hostnames"] = json!(route.hostnames);
    }
    object(registry, OptionalKind::HttpRoute, spec)
}

fn tls_route(registry: &ValidatedRegistry, route: &TlsRoute) -> (OptionalKind, DynamicObject) {
    let spec = json!({
        "parentRefs": parents(&route.parent_refs),
        "hostnames": route.hostnames,
        "rules": [{ "backendRefs": [service(registry)] }],
    });
    object(registry, OptionalKind::TlsRoute, spec)
}

fn parents(parents: &[ParentRef]) -> Vec<Value> {
    let reference = |parent: &ParentRef| {
        let mut reference = json!({
            "group": "gateway.networking.k8s.io",
            "kind": parent.kind.as_str(),
            "name": parent.name,
        });
        for (member, value) in [
            ("namespace", &parent.namespace),
            ("sectionName", &parent.section_name),
        ] {
            if let Some(value) = value {
                reference[member] = json!(value);
            }
        }
        reference
    };
    parents.iter().map(reference).collect()
}

/// The Service as the target of a route.
fn service(registry: &ValidatedRegistry) -> Value {
    json!({
        "group": "",
        "kind": "Service",
        "name": registry.names.service(),
        "port": registry.service.port,
        "weight": 1,
    })
}

/// The policy, with the name for which the Gateway verifies the server's certificate.
fn backend_tls_policy(registry: &ValidatedRegistry, hostname: &str) -> (OptionalKind, DynamicObject) {
    let spec = json!({
        "targetRefs": [{ "group": "", "kind": "Service", "name": registry.names.service() }],
        "validation": {
            "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": registry.names.ca_bundle() }],
            "hostname": hostname,
        },
    });
    object(registry, OptionalKind::BackendTlsPolicy, spec)
}
