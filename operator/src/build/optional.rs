//! The objects of kinds that a cluster may not have.

use kube::api::DynamicObject;
use operator_api::{HttpRoute, Metrics, Monitor};
use serde_json::{Value, json};

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
        if registry.scheme == Scheme::Https {
            all.push(backend_tls_policy(registry));
        }
    }
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
    let parents = route.parent_refs.iter().map(|parent| {
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
    });
    let service = json!({
        "group": "",
        "kind": "Service",
        "name": registry.names.service(),
        "port": registry.service.port,
        "weight": 1,
    });
    let mut spec = json!({
        "parentRefs": parents.collect::<Vec<_>>(),
        "rules": [{
            "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
            "backendRefs": [service],
            // Zero means none: a layer of many gigabytes over a slow line takes long.
            "timeouts": { "request": "0s", "backendRequest": "0s" },
        }],
    });
    if !route.hostnames.is_empty() {
        spec["hostnames"] = json!(route.hostnames);
    }
    object(registry, OptionalKind::HttpRoute, spec)
}

fn backend_tls_policy(registry: &ValidatedRegistry) -> (OptionalKind, DynamicObject) {
    let spec = json!({
        "targetRefs": [{ "group": "", "kind": "Service", "name": registry.names.service() }],
        "validation": {
            "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": registry.names.ca_bundle() }],
            "hostname": registry.service_host(),
        },
    });
    object(registry, OptionalKind::BackendTlsPolicy, spec)
}
