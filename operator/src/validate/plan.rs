//! What has to be generated, and whether what was generated earlier can still be used.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use operator_api::{IngressTlsMode, RegistrySpec, SelfSigned};

use super::{Error, HTTP_SECRET_MIN, ServerTls, ValidatedIngress};
use crate::issue::{CertificatePlan, HTTP_SECRET_KEY, Plan, check_ca, text};
use crate::names::Names;
use crate::read::Facts;

/// A year.
const CERTIFICATE_DURATION: SignedDuration = SignedDuration::from_hours(8760);

pub(super) fn plan(
    spec: &RegistrySpec,
    registry: &str,
    namespace: &str,
    names: &Names,
    tls: Option<&ServerTls>,
    ingress: Option<&ValidatedIngress>,
    http_secret: bool,
) -> Plan {
    let wishes = spec
        .tls
        .as_ref()
        .and_then(|tls| tls.self_signed.clone())
        .unwrap_or_default();
    let duration = wishes.duration.map_or(CERTIFICATE_DURATION, signed);
    let renew_before = wishes.renew_before.map(signed);
    let hosts = || {
        ingress
            .iter()
            .flat_map(|ingress| ingress.spec.hosts.iter().cloned())
    };
    let server = (tls == Some(&ServerTls::Issued)).then(|| {
        let service = names.service();
        let mut dns_names = BTreeSet::from([
            "localhost".to_owned(),
            service.clone(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
        ]);
        // Reencrypt may ask for the host's name, Passthrough does.
        dns_names.extend(hosts());
        dns_names.extend(wishes.dns_names.iter().cloned());
        CertificatePlan::new(dns_names, addresses(&wishes), duration, renew_before)
    });
    let edge = ingress
        .filter(|ingress| {
            // Not judged by the name: a Secret of the user's may be called as ours would be.
            let provided = ingress
                .spec
                .tls
                .as_ref()
                .is_some_and(|tls| tls.secret_name.is_some());
            ingress.mode != IngressTlsMode::Passthrough && !provided
        })
        .map(|_| CertificatePlan::new(hosts().collect(), BTreeSet::new(), duration, renew_before));
    Plan {
        http_secret,
        server,
        edge,
        ca_name: format!("Berth registry {namespace}/{registry}"),
    }
}

/// Refuses generated issued that somebody spoilt: made anew silently, it would lock every client out.
pub(super) fn check_existing(plan: &Plan, facts: &Facts, names: &Names) -> Result<(), Error> {
    if let Some(secret) = &facts.found.ca_key
        && (plan.server.is_some() || plan.edge.is_some())
    {
        check_ca(secret).map_err(|problem| Error::GeneratedSecretSpoilt {
            name: names.ca_key(),
            problem: problem.to_string(),
            price: "which clients will have to trust anew",
        })?;
    }
    if let Some(secret) = &facts.found.http_secret
        && plan.http_secret
        && text(Some(secret), HTTP_SECRET_KEY).is_none_or(|text| text.len() < HTTP_SECRET_MIN)
    {
        return Err(Error::GeneratedSecretSpoilt {
            name: names.http_secret(),
            problem: format!("key `{HTTP_SECRET_KEY}` is missing or too short"),
            price: "with which running uploads begin again",
        });
    }
    Ok(())
}

/// Those that do not parse are refused by the API server's rules.
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
