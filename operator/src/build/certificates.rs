//! The issued secrets as objects. The CA's key, the certificates and the public bundle are separate objects, so that
//! the right to read one does not include another.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ObjectMeta;
use operator_api::IngressTlsMode;

use super::metadata::{lasting, owned};
use crate::certificate::{ISSUED_ANNOTATION, KeyPair, fingerprint, only_certificates};
use crate::children::Want;
use crate::issue::Issued;
use crate::secret_data::{CA_CERTIFICATE, HTTP_SECRET_KEY, TLS_CERTIFICATE, TLS_KEY};
use crate::validate::ValidatedRegistry;
use crate::validate::registry::{IngressPart, ServerTls};

/// The secret that signs upload states.
pub(super) fn http_secret(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    if registry.unusable.http_secret {
        return Want::Unchanged;
    }
    let metadata = lasting(registry, registry.names.http_secret());
    let issued = issued.http_secret.clone();
    issued
        .map(|text| secret(metadata, "Opaque", [(HTTP_SECRET_KEY, text)]))
        .into()
}

/// The CA with its private key.
pub(super) fn ca_key(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    if registry.unusable.ca {
        return Want::Unchanged;
    }
    let metadata = lasting(registry, registry.names.ca_key());
    let ca = issued.ca.clone();
    ca.map(|ca| {
        let entries = [(CA_CERTIFICATE, ca.certificate), (TLS_KEY, ca.key)];
        secret(metadata, "Opaque", entries)
    })
    .into()
}

/// The server's certificate.
pub(super) fn server(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    certificate(
        registry,
        registry.names.server_certificate(),
        issued.server.as_ref(),
        issued,
        registry.unusable.server,
    )
}

/// The Ingress's certificate.
pub(super) fn edge(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    certificate(
        registry,
        registry.names.edge_certificate(),
        issued.edge.as_ref(),
        issued,
        registry.unusable.edge,
    )
}

/// The CAs that clients must trust: the Registry's own, where it signed a certificate, and a provided one.
pub(super) fn ca_bundle(registry: &ValidatedRegistry, issued: &Issued) -> Want<ConfigMap> {
    if registry.unusable.ca || registry.tls.is_none() {
        return Want::Unchanged;
    }
    let signs = issued.server.is_some() || issued.edge.is_some();
    let own = issued
        .ca
        .as_ref()
        .filter(|_| signs)
        .map(|ca| ca.certificate.as_str());
    let bundle = [own, registry.provided_ca.as_deref()]
        .into_iter()
        .flatten()
        .map(only_certificates)
        .collect::<String>();
    (!bundle.is_empty())
        .then(|| ConfigMap {
            metadata: owned(registry, registry.names.ca_bundle()),
            data: Some(BTreeMap::from([(CA_CERTIFICATE.to_owned(), bundle)])),
            ..Default::default()
        })
        .into()
}

/// The CA that the Ingress controller must trust. Controllers read it from a Secret, but nothing in it is secret: they
/// would show a key in the same Secret to the server as a client certificate.
pub(super) fn upstream_ca(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    let ingress = match &registry.ingress {
        IngressPart::NotWanted => return Want::Absent,
        IngressPart::Wrong => return Want::Unchanged,
        IngressPart::Right(ingress) => ingress,
    };
    let (Some(tls), false) = (&registry.tls, registry.unusable.ca) else {
        return Want::Unchanged;
    };
    if ingress.mode != IngressTlsMode::Reencrypt {
        return Want::Absent;
    }
    let ca = match tls {
        ServerTls::Issued => issued.ca.as_ref().map(|ca| &ca.certificate),
        ServerTls::Provided {
            verify_as: Some(_), ..
        } => registry.provided_ca.as_ref(),
        ServerTls::Provided { verify_as: None, .. } | ServerTls::Disabled => None,
    };
    let metadata = owned(registry, registry.names.upstream_ca());
    ca.map(|ca| secret(metadata, "Opaque", [(CA_CERTIFICATE, only_certificates(ca))]))
        .into()
}

fn certificate(
    registry: &ValidatedRegistry,
    name: String,
    pair: Option<&KeyPair>,
    issued: &Issued,
    replaced: bool,
) -> Want<Secret> {
    if registry.unusable.ca || replaced {
        return Want::Unchanged;
    }
    let (Some(pair), Some(ca)) = (pair, &issued.ca) else {
        return Want::Absent;
    };
    let entries = [
        (TLS_CERTIFICATE, pair.certificate.clone()),
        (TLS_KEY, pair.key.clone()),
        (CA_CERTIFICATE, ca.certificate.clone()),
    ];
    let mut metadata = owned(registry, name);
    let note = (ISSUED_ANNOTATION.to_owned(), fingerprint(&pair.certificate));
    metadata.annotations = Some(BTreeMap::from([note]));
    Want::Present(secret(metadata, "kubernetes.io/tls", entries))
}

fn secret<const N: usize>(metadata: ObjectMeta, type_: &str, entries: [(&str, String); N]) -> Secret {
    let data = entries.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
    Secret {
        metadata,
        type_: Some(type_.to_owned()),
        data: Some(BTreeMap::from(data)),
        ..Default::default()
    }
}
