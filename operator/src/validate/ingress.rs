//! The Ingress: where TLS ends, and which certificate it shows.

use operator_api::{IngressTlsMode, RegistrySpec};

use super::error::{Collector, Error, INGRESS_CERTIFICATE};
use super::lookup;
use super::provided;
use super::registry::{IngressPart, ServerTls, ValidatedIngress};
use crate::names::Names;
use crate::read::Facts;

/// The Ingress with its defaults.
pub(super) fn ingress(
    spec: &RegistrySpec,
    names: &Names,
    facts: &Facts,
    found: &mut Collector,
) -> IngressPart {
    let Some(ingress) = &spec.ingress else {
        return IngressPart::NotWanted;
    };
    let tls = ingress.tls.clone().unwrap_or_default();
    let mode = mode(spec);
    let certificate = match (mode, tls.secret_name) {
        (IngressTlsMode::Passthrough, _) => None,
        (IngressTlsMode::Edge | IngressTlsMode::Reencrypt, Some(name)) => {
            if let Err(error) = lookup::tls_secret(&name, INGRESS_CERTIFICATE, facts) {
                // A Secret that is missing may be made by somebody who waits for the Ingress, as cert-manager does.
                let may_come = matches!(error, Error::SecretMissing { .. });
                found.problems.push(error);
                if !may_come {
                    return IngressPart::Wrong;
                }
            }
            Some(name)
        }
        (IngressTlsMode::Edge | IngressTlsMode::Reencrypt, None) => Some(names.edge_certificate()),
    };
    IngressPart::Right(ValidatedIngress {
        spec: ingress.clone(),
        mode,
        certificate,
    })
}

/// The place where TLS ends: the spec's, and otherwise the server when it has TLS.
pub(super) fn mode(spec: &RegistrySpec) -> IngressTlsMode {
    let asked = spec
        .ingress
        .as_ref()
        .and_then(|ingress| ingress.tls.as_ref()?.mode);
    let plain = spec.tls.as_ref().is_some_and(|tls| tls.disabled.is_some());
    asked.unwrap_or(match plain {
        true => IngressTlsMode::Edge,
        false => IngressTlsMode::Reencrypt,
    })
}

/// Notes that the Ingress cannot verify the server's certificate, and why.
pub(super) fn note_unverified(
    spec: &RegistrySpec,
    tls: Option<&ServerTls>,
    ingress: &IngressPart,
    facts: &Facts,
    service_host: &str,
    found: &mut Collector,
) {
    let Some(secret) = unverifiable(tls) else {
        return;
    };
    if ingress.right().map(|ingress| ingress.mode) != Some(IngressTlsMode::Reencrypt) {
        return;
    }
    let why = why_unverified(spec, secret, "a host of the Ingress", facts, service_host);
    found.note(format!(
        "The Ingress does not verify the server's certificate, because {why}"
    ));
}

/// Notes that a Gateway cannot verify the server's certificate, and why.
pub(super) fn note_unverified_route(
    spec: &RegistrySpec,
    tls: Option<&ServerTls>,
    facts: &Facts,
    service_host: &str,
    found: &mut Collector,
) {
    let Some(secret) = unverifiable(tls) else {
        return;
    };
    if spec.http_route.is_some() {
        let why = why_unverified(spec, secret, "a host of `spec.httpRoute`", facts, service_host);
        found.note(format!(
            "There is no BackendTLSPolicy, so a Gateway may not reach the server, because the certificate cannot be verified: {why}"
        ));
    }
}

/// The Secret of a certificate of people's own under which the server cannot be verified.
fn unverifiable(tls: Option<&ServerTls>) -> Option<&str> {
    match tls {
        Some(ServerTls::Provided {
            secret,
            verify_as: None,
            ..
        }) => Some(secret),
        _ => None,
    }
}

fn why_unverified(
    spec: &RegistrySpec,
    secret: &str,
    host: &str,
    facts: &Facts,
    service_host: &str,
) -> String {
    match provided::ca(spec, facts) {
        Some(_) => format!(
            "it names neither `{service_host}` nor {host}; have one issued for Secret `{secret}` that does"
        ),
        None => format!("Secret `{secret}` has no `ca.crt`"),
    }
}
