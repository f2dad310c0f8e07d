//! The Ingress, with the annotations that large uploads need.
//!
//! The annotations are those of ingress-nginx. Traefik's ingress-nginx provider reads those about TLS and, since 3.7, about
//! size and buffering, with a limit of 1 MB when they are missing; for timeouts it has settings of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use operator_api::IngressTlsMode;

use super::metadata::owned;
use super::ports::REGISTRY_PORT;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::{ServerTls, ValidatedIngress};

/// A layer of many gigabytes over a slow line takes long. nginx measures the time between two reads.
const TIMEOUT_SECONDS: &str = "3600";

/// The Ingress. `tls` is the server's certificate.
pub(super) fn ingress(registry: &ValidatedRegistry, ingress: &ValidatedIngress, tls: &ServerTls) -> Ingress {
    let mut metadata = owned(registry, registry.names.ingress());
    metadata.annotations = Some(annotations(registry, ingress, tls));
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: registry.names.service(),
            port: Some(ServiceBackendPort {
                name: Some(REGISTRY_PORT.to_owned()),
                number: None,
            }),
        }),
        resource: None,
    };
    let rule = |host: &String| IngressRule {
        host: Some(host.clone()),
        http: Some(HTTPIngressRuleValue {
            paths: vec![HTTPIngressPath {
                path: Some("/".to_owned()),
                path_type: "Prefix".to_owned(),
                backend: backend.clone(),
            }],
        }),
    };
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: ingress.spec.class_name.clone(),
            rules: Some(ingress.spec.hosts.iter().map(rule).collect()),
            // Without a Secret the entry means: route by the server name of the TLS handshake.
            tls: Some(vec![IngressTLS {
                hosts: Some(ingress.spec.hosts.clone()),
                secret_name: ingress.certificate.clone(),
            }]),
            ..Default::default()
        }),
        status: None,
    }
}

fn annotations(
    registry: &ValidatedRegistry,
    ingress: &ValidatedIngress,
    tls: &ServerTls,
) -> BTreeMap<String, String> {
    let nginx = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    let mut all = BTreeMap::from(
        [
            // Layers are larger than any default limit (1 MiB in nginx).
            ("proxy-body-size", "0"),
            // The controller must not store a pushed layer on its disk before it sends the first byte to the server,
            // nor a pulled layer when the client is slower than the server.
            ("proxy-request-buffering", "off"),
            ("proxy-buffering", "off"),
            // A push that was sent to a second Pod would be applied twice, or answered with the second's error.
            ("proxy-next-upstream", "off"),
            ("proxy-read-timeout", TIMEOUT_SECONDS),
            ("proxy-send-timeout", TIMEOUT_SECONDS),
        ]
        .map(|(name, value)| (nginx(name), value.to_owned())),
    );
    all.extend(ingress.spec.annotations.clone());
    let mut set = |name: &str, value: String| all.insert(nginx(name), value);
    match ingress.mode {
        IngressTlsMode::Edge => {
            set("backend-protocol", "HTTP".to_owned());
        }
        IngressTlsMode::Passthrough => {
            set("backend-protocol", "HTTPS".to_owned());
            set("ssl-passthrough", "true".to_owned());
        }
        IngressTlsMode::Reencrypt => {
            set("backend-protocol", "HTTPS".to_owned());
            match verified_name(registry, tls) {
                Some(name) => {
                    let secret = format!("{}/{}", registry.subject.namespace, registry.names.upstream_ca());
                    set("proxy-ssl-secret", secret);
                    set("proxy-ssl-verify", "on".to_owned());
                    set("proxy-ssl-name", name);
                    set("proxy-ssl-server-name", "on".to_owned());
                }
                None => {
                    set("proxy-ssl-verify", "off".to_owned());
                }
            }
        }
    }
    all
}

/// The name for which a proxy verifies the server's certificate; `None` when it cannot.
pub(super) fn verified_name(registry: &ValidatedRegistry, tls: &ServerTls) -> Option<String> {
    match tls {
        ServerTls::Disabled => None,
        ServerTls::Issued => Some(registry.service_host()),
        ServerTls::Provided { verify_as, .. } => verify_as.clone(),
    }
}
