//! The Service.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{owned, selector};
use super::pod::SERVER_PORT_NAME;
use crate::validate::ValidatedRegistry;

/// Name of the port.
pub(super) const PORT_NAME: &str = "registry";

pub(super) fn service(registry: &ValidatedRegistry) -> Service {
    let wishes = &registry.service;
    let mut metadata = owned(registry, registry.names.service());
    let mut labels = wishes.labels.clone();
    // Ours win: the labels are how the operator finds its objects.
    labels.extend(metadata.labels.take().unwrap_or_default());
    metadata.labels = Some(labels);
    metadata.annotations = (!wishes.annotations.is_empty()).then(|| wishes.annotations.clone());
    let protocol = if registry.tls.is_some() { "https" } else { "http" };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(wishes.type_.as_str().to_owned()),
            selector: Some(selector(registry)),
            load_balancer_class: wishes.load_balancer_class.clone(),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some(protocol.to_owned()),
                port: wishes.port,
                target_port: Some(IntOrString::String(SERVER_PORT_NAME.to_owned())),
                node_port: wishes.node_port,
            }]),
            ..Default::default()
        }),
        status: None,
    }
}
