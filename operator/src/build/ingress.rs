//! The Ingress, with what large uploads need.
//!
//! The annotations are ingress-nginx's, which other controllers read, too: Traefik's ingress-nginx provider takes
//! those about TLS and ignores those about size, buffering and time, for which it has settings of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use operator_api::IngressTlsMode;

use super::labels::owned;
use super::service::PORT_NAME;
use crate::validate::{ServerTls, ValidatedIngress, ValidatedRegistry};

/// A layer of many gigabytes over a slow line takes long; nginx counts the time between two reads.
const TIMEOUT_SECONDS: &str = "3600";

pub(super) fn ingress(registry: &ValidatedRegistry) -> Option<Ingress> {
    let ingress = registry.ingress.as_ref()?;
    let mut metadata = owned(registry, registry.names.ingress());
    metadata.annotations = Some(annotations(registry, ingress));
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: registry.names.service(),
            port: Some(ServiceBackendPort {
                name: Some(PORT_NAME.to_owned()),
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
    Some(Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: ingress.spec.class_name.clone(),
            rules: Some(ingress.spec.hosts.iter().map(rule).collect()),
            // Without a Secret it says: route by the name of the TLS handshake.
            tls: Some(vec![IngressTLS {
                hosts: Some(ingress.spec.hosts.clone()),
                secret_name: ingress.certificate.clone(),
            }]),
            ..Default::default()
        }),
        status: None,
    })
}

fn annotations(registry: &ValidatedRegistry, ingress: &ValidatedIngress) -> BTreeMap<String, String> {
    let nginx = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    let mut all = BTreeMap::from(
        [
            // Layers are larger than any default limit (1 MiB in nginx).
            ("proxy-body-size", "0"),
            // A layer must not be gathered on the controller's disk before its first byte is passed on, nor a
            // pulled one pile up there when the client is slower than the server.
            ("proxy-request-buffering", "off"),
            ("proxy-buffering", "off"),
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
            match verified_name(registry) {
                Some(name) => {
                    let secret = format!("{}/{}", registry.namespace, registry.names.upstream_ca());
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

/// The name the server's certificate is checked for.
fn verified_name(registry: &ValidatedRegistry) -> Option<String> {
    match registry.tls.as_ref()? {
        ServerTls::Issued => Some(format!("{}.{}.svc", registry.names.service(), registry.namespace)),
        ServerTls::Provided { verify_as, .. } => verify_as.clone(),
    }
}
