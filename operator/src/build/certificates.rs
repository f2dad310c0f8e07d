//! Generated issued as objects. The CA's key, the certificates and the public bundle are three objects, so
//! that reading one never means reading another.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ObjectMeta;
use operator_api::IngressTlsMode;

use super::labels::{lasting, owned};
use crate::issue::{
    CA_CERTIFICATE, HTTP_SECRET_KEY, Issued, KeyPair, TLS_CERTIFICATE, TLS_KEY, only_certificates,
};
use crate::validate::{ServerTls, ValidatedRegistry};

pub(super) fn http_secret(registry: &ValidatedRegistry, issued: &Issued) -> Option<Secret> {
    let text = issued.http_secret.clone()?;
    Some(secret(
        lasting(registry, registry.names.http_secret()),
        "Opaque",
        [(HTTP_SECRET_KEY, text)],
    ))
}

pub(super) fn ca_key(registry: &ValidatedRegistry, issued: &Issued) -> Option<Secret> {
    let pair = issued.ca.clone()?;
    let entries = [(CA_CERTIFICATE, pair.certificate), (TLS_KEY, pair.key)];
    Some(secret(
        lasting(registry, registry.names.ca_key()),
        "Opaque",
        entries,
    ))
}

pub(super) fn server(registry: &ValidatedRegistry, issued: &Issued) -> Option<Secret> {
    certificate(
        registry,
        registry.names.server_certificate(),
        issued.server.clone()?,
        issued,
    )
}

pub(super) fn edge(registry: &ValidatedRegistry, issued: &Issued) -> Option<Secret> {
    certificate(
        registry,
        registry.names.edge_certificate(),
        issued.edge.clone()?,
        issued,
    )
}

/// The CAs clients must trust: the Registry's own, where it signed something, and a provided one.
pub(super) fn ca_bundle(registry: &ValidatedRegistry, issued: &Issued) -> Option<ConfigMap> {
    let signs = issued.server.is_some() || issued.edge.is_some();
    let own = issued
        .ca
        .as_ref()
        .filter(|_| signs)
        .map(|pair| pair.certificate.as_str());
    let bundle = [own, registry.provided_ca.as_deref()]
        .into_iter()
        .flatten()
        .map(only_certificates)
        .collect::<String>();
    (!bundle.is_empty()).then(|| ConfigMap {
        metadata: owned(registry, registry.names.ca_bundle()),
        data: Some(BTreeMap::from([(CA_CERTIFICATE.to_owned(), bundle)])),
        ..Default::default()
    })
}

/// What the Ingress controller must trust. A Secret, because that is what controllers read a CA from, but
/// with nothing secret in it: a key beside it would be shown to the server as a client certificate.
pub(super) fn upstream(registry: &ValidatedRegistry, issued: &Issued) -> Option<Secret> {
    let ingress = registry.ingress.as_ref()?;
    if ingress.mode != IngressTlsMode::Reencrypt {
        return None;
    }
    let ca = match registry.tls.as_ref()? {
        ServerTls::Issued => issued.ca.as_ref()?.certificate.clone(),
        ServerTls::Provided {
            verify_as: Some(_), ..
        } => registry.provided_ca.clone()?,
        ServerTls::Provided { verify_as: None, .. } => return None,
    };
    let metadata = owned(registry, registry.names.upstream_ca());
    Some(secret(
        metadata,
        "Opaque",
        [(CA_CERTIFICATE, only_certificates(&ca))],
    ))
}

fn certificate(registry: &ValidatedRegistry, name: String, pair: KeyPair, issued: &Issued) -> Option<Secret> {
    let ca = issued.ca.as_ref()?.certificate.clone();
    let entries = [
        (TLS_CERTIFICATE, pair.certificate),
        (TLS_KEY, pair.key),
        (CA_CERTIFICATE, ca),
    ];
    Some(secret(owned(registry, name), "kubernetes.io/tls", entries))
}

fn secret<const N: usize>(metadata: ObjectMeta, kind: &str, entries: [(&str, String); N]) -> Secret {
    let data = entries.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
    Secret {
        metadata,
        type_: Some(kind.to_owned()),
        data: Some(BTreeMap::from(data)),
        ..Default::default()
    }
}
