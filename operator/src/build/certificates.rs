//! The issued secrets as objects. The CA's key, the certificates and the public bundle are separate objects, so that
//! the right to read one does not include another.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ObjectMeta;
use operator_api::IngressTlsMode;

use super::metadata::{lasting, owned};
use crate::certificate::{ISSUED_ANNOTATION, KeyPair, fingerprint};
use crate::children::Want;
use crate::issue::Issued;
use crate::issue::rotation::{NEXT_CA_SIGNS_FROM, RENEWAL_ANSWERED};
use crate::issue::trust::PUBLISHED_ANNOTATION;
use crate::secret_data::{
    CA_CERTIFICATE, HTTP_SECRET_KEY, NEXT_CA_CERTIFICATE, NEXT_CA_KEY, TLS_CERTIFICATE, TLS_KEY,
};
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

/// The CAs with their private keys.
pub(super) fn ca_key(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    let Some(cas) = issued.cas.clone().filter(|_| !registry.unusable.ca) else {
        return Want::Unchanged;
    };
    let mut metadata = lasting(registry, registry.names.ca_key());
    let mut annotations = BTreeMap::new();
    if let Some(answered) = cas.answered {
        annotations.insert(RENEWAL_ANSWERED.to_owned(), answered);
    }
    let current = cas.current;
    let mut entries = vec![(CA_CERTIFICATE, current.certificate), (TLS_KEY, current.key)];
    if let Some(next) = cas.next {
        annotations.insert(NEXT_CA_SIGNS_FROM.to_owned(), next.signs_from.to_string());
        entries.push((NEXT_CA_CERTIFICATE, next.pair.certificate));
        entries.push((NEXT_CA_KEY, next.pair.key));
    }
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Want::Present(secret(metadata, "Opaque", entries))
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

/// The CAs that clients must trust.
pub(super) fn ca_bundle(registry: &ValidatedRegistry, issued: &Issued) -> Want<ConfigMap> {
    if registry.unusable.ca || registry.tls.is_none() {
        return Want::Unchanged;
    }
    let trust = &issued.trust;
    (!trust.certificates.is_empty())
        .then(|| {
            let mut metadata = owned(registry, registry.names.ca_bundle());
            let published = (PUBLISHED_ANNOTATION.to_owned(), trust.published.clone());
            metadata.annotations = Some(BTreeMap::from([published]));
            let bundle = (CA_CERTIFICATE.to_owned(), trust.certificates.clone());
            ConfigMap {
                metadata,
                data: Some(BTreeMap::from([bundle])),
                ..Default::default()
            }
        })
        .into()
}

/// The CAs that clients must trust, as a Secret: Ingress controllers and mounts may want one. Nothing in it is secret.
pub(super) fn ca_secret(registry: &ValidatedRegistry, issued: &Issued) -> Want<Secret> {
    if registry.unusable.ca || registry.tls.is_none() {
        return Want::Unchanged;
    }
    let certificates = issued.trust.certificates.clone();
    let metadata = owned(registry, registry.names.ca_secret());
    (!certificates.is_empty())
        .then(|| secret(metadata, "Opaque", [(CA_CERTIFICATE, certificates)]))
        .into()
}

/// The CAs that the Ingress controller must trust. Controllers read them from a Secret, but nothing in it is secret: they
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
    match tls {
        ServerTls::Issued
        | ServerTls::Provided {
            verify_as: Some(_), ..
        } => {}
        ServerTls::Provided { verify_as: None, .. } | ServerTls::Disabled => return Want::Absent,
    }
    let metadata = owned(registry, registry.names.upstream_ca());
    // As soon as it is published: the server may show its certificate a minute later.
    let certificates = issued.trust.certificates.clone();
    Want::Present(secret(metadata, "Opaque", [(CA_CERTIFICATE, certificates)]))
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
    let Some(pair) = pair else {
        return Want::Absent;
    };
    let entries = [
        (TLS_CERTIFICATE, pair.certificate.clone()),
        (TLS_KEY, pair.key.clone()),
        (CA_CERTIFICATE, issued.trust.certificates.clone()),
    ];
    let mut metadata = owned(registry, name);
    let note = (ISSUED_ANNOTATION.to_owned(), fingerprint(&pair.certificate));
    metadata.annotations = Some(BTreeMap::from([note]));
    Want::Present(secret(metadata, "kubernetes.io/tls", entries))
}

fn secret<'a>(
    metadata: ObjectMeta,
    type_: &str,
    entries: impl IntoIterator<Item = (&'a str, String)>,
) -> Secret {
    let entries = entries.into_iter();
    let data = entries.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
    Secret {
        metadata,
        type_: Some(type_.to_owned()),
        data: Some(data.collect()),
        ..Default::default()
    }
}
