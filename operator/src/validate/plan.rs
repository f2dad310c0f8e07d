//! Which secrets have to be issued, and whether those that were issued earlier can still be used.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use operator_api::{IngressTlsMode, RegistrySpec, SelfSigned};

use super::error::{Collector, Error};
use super::registry::Unusable;
use super::{ingress, lookup, provided};
use crate::certificate::{self, KeyPair};
use crate::children::{ForeignObject, Found};
use crate::issue_plan::{CertificatePlan, IssuePlan};
use crate::names::Names;
use crate::read::Facts;
use crate::secret_data::{HTTP_SECRET_KEY, HTTP_SECRET_MIN, TLS_CERTIFICATE, TLS_KEY, text};
use crate::subject::Subject;

/// How long a certificate is valid when the spec does not say: a year.
const CERTIFICATE_DURATION: SignedDuration = SignedDuration::from_hours(8760);

/// How long before its end a CA of the author's is told: 30 days.
const CA_ENDS_SOON: SignedDuration = SignedDuration::from_hours(720);

/// The secrets to issue, without those that must be left as they are because the existing one cannot be used.
pub(super) fn issue(
    spec: &RegistrySpec,
    subject: &Subject,
    names: &Names,
    annotation: Option<&String>,
    facts: &Facts,
    found: &mut Collector,
) -> (IssuePlan, Unusable) {
    let mut plan = wanted(spec, subject, names);
    plan.renew_ca = annotation.cloned();
    plan.provided_ca = provided::ca(spec, facts);
    let mut unusable = Unusable::default();
    if plan.server.is_some() || plan.edge.is_some() {
        let self_signed = spec.tls.as_ref().and_then(|tls| tls.self_signed.as_ref());
        match self_signed.and_then(|wishes| wishes.ca_secret.as_ref()) {
            Some(reference) => {
                plan.provided_signer = found.collect(provided_signer(&reference.name, facts));
                unusable.ca = plan.provided_signer.is_none();
                note_end(&reference.name, plan.provided_signer.as_ref(), facts, found);
            }
            None => {
                unusable.ca =
                    found.collect(usable_ca(facts, names)).is_none() || is_unreadable(&facts.existing.ca_key);
            }
        }
    }
    if plan.http_secret {
        unusable.http_secret = found.collect(usable_http_secret(facts, names)).is_none()
            || is_unreadable(&facts.existing.http_secret);
    }
    let certificates = [
        (
            &mut plan.server,
            &mut unusable.server,
            &facts.existing.server_certificate,
            "spec.tls.secret.name",
        ),
        (
            &mut plan.edge,
            &mut unusable.edge,
            &facts.existing.edge_certificate,
            "spec.ingress.tls.secretName",
        ),
    ];
    for (plan, unusable, existing, field) in certificates {
        if plan.is_some() && is_unreadable(existing) {
            (*plan, *unusable) = (None, true);
        }
        if let (Some(_), Some(secret)) = (&plan, existing.ours())
            && !certificate::is_issued(secret, facts.existing.ca_key.ours())
        {
            let name = secret.name_any();
            found.problems.push(Error::CertificateReplaced { name, field });
            (*plan, *unusable) = (None, true);
        }
    }
    if unusable.ca {
        (plan.server, plan.edge) = (None, None);
    }
    plan.http_secret &= !unusable.http_secret;
    (plan, unusable)
}

/// Whether a Secret could not be read. `read` has told it. It may be good, so none is made in its place.
fn is_unreadable(found: &Found<Secret>) -> bool {
    matches!(found, Found::Unreadable)
}

fn wanted(spec: &RegistrySpec, subject: &Subject, names: &Names) -> IssuePlan {
    let tls = spec.tls.as_ref();
    let wishes = tls.and_then(|tls| tls.self_signed.clone()).unwrap_or_default();
    let duration = wishes.duration.map_or(CERTIFICATE_DURATION, signed);
    let renew_before = wishes.renew_before.map(signed);
    let hosts = || {
        let ingress = spec.ingress.iter();
        ingress.flat_map(|ingress| ingress.hosts.iter().cloned())
    };
    let server = tls
        .is_none_or(|tls| tls.secret.is_none() && tls.disabled.is_none())
        .then(|| {
            let (service, namespace) = (names.service(), &subject.namespace);
            let mut dns_names = BTreeSet::from([
                "localhost".to_owned(),
                service.clone(),
                format!("{service}.{namespace}"),
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}.svc.cluster.local"),
            ]);
            // Clients ask for the host's name with Passthrough, and an Ingress may with Reencrypt.
            dns_names.extend(hosts());
            let routes = spec
                .tls_route
                .iter()
                .flat_map(|route| route.hostnames.iter().cloned());
            dns_names.extend(routes);
            dns_names.extend(wishes.dns_names.iter().cloned());
            CertificatePlan::new(dns_names, addresses(&wishes), duration, renew_before)
        });
    let edge = spec.ingress.as_ref().filter(|ingress| {
        let provided = ingress.tls.as_ref().is_some_and(|tls| tls.secret_name.is_some());
        ingress::mode(spec) != IngressTlsMode::Passthrough && !provided
    });
    IssuePlan {
        http_secret: spec
            .http
            .as_ref()
            .is_none_or(|http| http.secret_key_ref.is_none()),
        server,
        edge: edge.map(|_| CertificatePlan::new(hosts().collect(), BTreeSet::new(), duration, renew_before)),
        provided_signer: None,
        renew_ca: None,
        next_change: None,
        provided_ca: None,
        ca_name: format!("Berth registry {}/{}", subject.namespace, subject.name),
    }
}

/// A CA of the author's.
fn provided_signer(name: &str, facts: &Facts) -> Result<KeyPair, Error> {
    let field = "spec.tls.selfSigned.caSecret";
    let entry = |key| {
        let bytes = lookup::value(name, key, field, facts)?;
        let text = std::str::from_utf8(bytes);
        text.map_err(|_| Error::secret_invalid(name, key, field, "is not text"))
    };
    let (certificate, key) = (entry(TLS_CERTIFICATE)?, entry(TLS_KEY)?);
    certificate::signer(certificate, key).map_err(|problem| Error::CertificateInvalid {
        name: name.to_owned(),
        field,
        problem,
        kept: false,
    })
}

/// Notes that certificates are cut short by their CA.
fn note_end(name: &str, signer: Option<&KeyPair>, facts: &Facts, found: &mut Collector) {
    let Some(signer) = signer.filter(|signer| signer.not_after - CA_ENDS_SOON < facts.now) else {
        return;
    };
    let day = signer.not_after.strftime("%Y-%m-%d");
    found.note(format!(
        "The CA of Secret `{name}` ends on {day}, and no certificate that it signs lasts longer; renew it"
    ));
}

/// Refuses a CA that somebody changed: a new one would lock every client out.
fn usable_ca(facts: &Facts, names: &Names) -> Result<(), Error> {
    let secret = match &facts.existing.ca_key {
        // A Secret that cannot be read is neither judged nor replaced.
        Found::Absent | Found::Unreadable => return Ok(()),
        Found::Foreign => return Err(ForeignObject::new::<Secret>(names.ca_key()).into()),
        Found::Ours(secret) => secret,
    };
    certificate::ca(secret)
        .map(drop)
        .map_err(|problem| Error::GeneratedSecretSpoilt {
            name: names.ca_key(),
            problem: problem.to_string(),
            price: "which clients will have to trust anew",
        })
}

/// Refuses an HTTP secret that somebody changed: a new one would end running uploads.
fn usable_http_secret(facts: &Facts, names: &Names) -> Result<(), Error> {
    let secret = match &facts.existing.http_secret {
        // A Secret that cannot be read is neither judged nor replaced.
        Found::Absent | Found::Unreadable => return Ok(()),
        Found::Foreign => return Err(ForeignObject::new::<Secret>(names.http_secret()).into()),
        Found::Ours(secret) => secret,
    };
    match text(Some(secret), HTTP_SECRET_KEY) {
        Some(text) if text.len() >= HTTP_SECRET_MIN && lookup::one_line(text.as_bytes()).is_ok() => Ok(()),
        _ => Err(Error::GeneratedSecretSpoilt {
            name: names.http_secret(),
            problem: format!("key `{HTTP_SECRET_KEY}` is missing, too short or not one line"),
            price: "with which running uploads begin again",
        }),
    }
}

/// The IP addresses. The API server's rules refuse those that do not parse.
fn addresses(wishes: &SelfSigned) -> BTreeSet<std::net::IpAddr> {
    wishes
        .ip_addresses
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect()
}

fn signed(duration: operator_api::Duration) -> SignedDuration {
    SignedDuration::try_from(std::time::Duration::from(duration)).unwrap_or(CERTIFICATE_DURATION)
}
