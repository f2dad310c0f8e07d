//! The Service in front of the Pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use operator_api::IpFamilyPolicy;

use super::metadata::{owned, some};
use super::ports::REGISTRY_PORT;
use crate::pod_layout::OVERLAP_SINCE_ANNOTATION;
use crate::validate::ValidatedRegistry;

/// The Service.
pub(super) fn service(registry: &ValidatedRegistry) -> Service {
    let wishes = &registry.service;
    let mut metadata = owned(registry, registry.names.service());
    let mut labels = wishes.labels.clone();
    // The operator's own labels win: it finds its objects by them.
    labels.extend(metadata.labels.take().unwrap_or_default());
    metadata.labels = Some(labels);
    let mut annotations = wishes.annotations.clone();
    if let Some(since) = registry.overlap.and_then(|overlap| overlap.since) {
        annotations.insert(OVERLAP_SINCE_ANNOTATION.to_owned(), since.to_string());
    }
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(wishes.type_.as_str().to_owned()),
            selector: Some(registry.names.selector()),
            load_balancer_class: wishes.load_balancer_class.clone(),
            load_balancer_source_ranges: some(wishes.load_balancer_source_ranges.clone()),
            external_traffic_policy: wishes
                .external_traffic_policy
                .map(|policy| policy.as_str().to_owned()),
            internal_traffic_policy: wishes
                .internal_traffic_policy
                .map(|policy| policy.as_str().to_owned()),
            // Without a value the API server keeps that of an earlier spec.
            ip_family_policy: Some(
                wishes
                    .ip_family_policy
                    .unwrap_or(IpFamilyPolicy::SingleStack)
                    .as_str()
                    .to_owned(),
            ),
            ip_families: some(
                wishes
                    .ip_families
                    .iter()
                    .map(|family| family.as_str().to_owned())
                    .collect(),
            ),
            ports: Some(vec![ServicePort {
                name: Some(REGISTRY_PORT.to_owned()),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some(registry.scheme.as_str().to_owned()),
                port: wishes.port,
                target_port: Some(IntOrString::String(REGISTRY_PORT.to_owned())),
                node_port: wishes.node_port,
            }]),
            ..Default::default()
        }),
        status: None,
    }
}
