//! Generated issued: the HTTP secret, the CA, and the certificates it signs.
//!
//! Guarantees: what exists and is good is returned as it is, byte for byte, so that nothing is ever made twice; a
//! certificate is made anew only when its names change, its end comes near or its CA is another one. The
//! CA's key is in memory only while it signs. Must not: talk to the API server; reveal a key in an error or
//! a Debug. Start at [`secrets`]; what is wanted is decided by `validate`.

mod certificate;
mod parse;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use certificate::CertificateAuthority;
pub use certificate::CertificatePlan;
pub(crate) use parse::only_certificates;
pub use parse::{Certificate, KeyPairError, key_pair};

use crate::read::Found;

/// Key of the generated HTTP secret in its Secret.
pub const HTTP_SECRET_KEY: &str = "secret";
/// Key of a CA's certificate in Secrets and ConfigMaps.
pub const CA_CERTIFICATE: &str = "ca.crt";
/// Key of a certificate in a `kubernetes.io/tls` Secret.
pub const TLS_CERTIFICATE: &str = "tls.crt";
/// Key of a private key in a `kubernetes.io/tls` Secret.
pub const TLS_KEY: &str = "tls.key";

/// Random bytes of a generated HTTP secret, before they are written as text.
const HTTP_SECRET_BYTES: usize = 32;

/// What a Registry needs to have made for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// No HTTP secret is named, so one is generated.
    pub http_secret: bool,
    /// The server's certificate.
    pub server: Option<CertificatePlan>,
    /// The Ingress's certificate.
    pub edge: Option<CertificatePlan>,
    /// Common name of the CA, should it have to be made.
    pub ca_name: String,
}

/// What is there after [`secrets`].
#[derive(Clone, Default)]
pub struct Issued {
    /// The generated HTTP secret.
    pub http_secret: Option<String>,
    /// The CA, when something had to be signed by it.
    pub ca: Option<KeyPair>,
    /// The server's certificate.
    pub server: Option<KeyPair>,
    /// The Ingress's certificate.
    pub edge: Option<KeyPair>,
}

/// A certificate and its private key, as PEM.
#[derive(Clone, Eq, PartialEq)]
pub struct KeyPair {
    /// The certificate, followed by those that vouch for it.
    pub certificate: String,
    /// The private key.
    pub key: String,
    /// When the certificate ends.
    pub not_after: Timestamp,
}

/// Deliberately without contents.
impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued(…)")
    }
}

/// Deliberately without contents.
impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair(until {})", self.not_after)
    }
}

/// Issued that could not be made. The cause is in our code or in the random number generator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CA or a certificate.
    #[error("cannot make a certificate for {names}")]
    Certificate {
        /// Whom for.
        names: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// Makes what `plan` asks for and `found` does not have.
///
/// `found` has passed `validate`: whatever it holds is ours and readable.
///
/// # Errors
/// A certificate could not be made.
pub fn secrets(plan: &Plan, found: &Found, now: Timestamp) -> Result<Issued, Error> {
    let http_secret = plan
        .http_secret
        .then(|| text(found.http_secret.as_ref(), HTTP_SECRET_KEY).unwrap_or_else(random_text));
    let existing = found.ca_key.as_ref().and_then(|secret| parse::ca(secret).ok());
    if plan.server.is_none() && plan.edge.is_none() {
        return Ok(Issued {
            http_secret,
            ca: existing,
            server: None,
            edge: None,
        });
    }
    let ca = match existing {
        Some(pair) => CertificateAuthority::load(pair),
        None => CertificateAuthority::make(&plan.ca_name, now),
    }
    .map_err(|source| Error::Certificate {
        names: plan.ca_name.clone(),
        source,
    })?;
    let sign = |plan: &Option<CertificatePlan>, found: &Option<Secret>| {
        plan.as_ref()
            .map(|plan| leaf(&ca, plan, found.as_ref(), now))
            .transpose()
    };
    let server = sign(&plan.server, &found.server_certificate)?;
    let edge = sign(&plan.edge, &found.edge_certificate)?;
    Ok(Issued {
        http_secret,
        ca: Some(ca.into_pair()),
        server,
        edge,
    })
}

/// The certificate there is, or a new one when it does not do any more.
fn leaf(
    ca: &CertificateAuthority,
    plan: &CertificatePlan,
    found: Option<&Secret>,
    now: Timestamp,
) -> Result<KeyPair, Error> {
    if let Some(pair) = found.and_then(|secret| still_good(ca, plan, secret, now)) {
        return Ok(pair);
    }
    let names = || plan.dns_names.iter().cloned().collect::<Vec<_>>().join(", ");
    ca.sign(plan, now).map_err(|source| Error::Certificate {
        names: names(),
        source,
    })
}

fn still_good(
    ca: &CertificateAuthority,
    plan: &CertificatePlan,
    secret: &Secret,
    now: Timestamp,
) -> Option<KeyPair> {
    let certificate = text(Some(secret), TLS_CERTIFICATE)?;
    let key = text(Some(secret), TLS_KEY)?;
    let parsed = key_pair(certificate.as_bytes(), key.as_bytes()).ok()?;
    let good = parsed.dns_names == plan.dns_names
        && parsed.ip_addresses == plan.ip_addresses
        && parsed.issued_by(ca.certificate())
        // One that ends with its CA cannot be made to last longer.
        && (now < parsed.not_after - plan.renew_before || parsed.not_after >= ca.certificate().not_after)
        // A shortened duration takes effect now and not in years.
        && parsed.not_after.duration_since(parsed.not_before) <= plan.duration + 2 * certificate::BACKDATED;
    good.then_some(KeyPair {
        certificate,
        key,
        not_after: parsed.not_after,
    })
}

/// When the first certificate of `issued` has to be renewed.
pub fn next_renewal(plan: &Plan, issued: &Issued) -> Option<Timestamp> {
    let end = issued.ca.as_ref().map(|ca| ca.not_after);
    let due = |plan: &Option<CertificatePlan>, pair: &Option<KeyPair>| {
        // One that ends with its CA cannot be renewed; a due date in the past would start pass after pass.
        let pair = pair.as_ref().filter(|pair| Some(pair.not_after) < end)?;
        Some(pair.not_after - plan.as_ref()?.renew_before)
    };
    [due(&plan.server, &issued.server), due(&plan.edge, &issued.edge)]
        .into_iter()
        .flatten()
        .min()
}

/// The text of one key of a Secret, when it is there and is text.
pub(crate) fn text(secret: Option<&Secret>, key: &str) -> Option<String> {
    let ByteString(bytes) = secret?.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.clone()).ok()
}

/// Whether the found CA can be used.
///
/// # Errors
/// What is wrong with it, without quoting it.
pub(crate) fn check_ca(secret: &Secret) -> Result<(), KeyPairError> {
    parse::ca(secret).map(drop)
}

fn random_text() -> String {
    use base64::Engine as _;
    let bytes: [u8; HTTP_SECRET_BYTES] = rand::random();
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
}

/// A plan's parts, before defaults are filled in.
impl CertificatePlan {
    /// How long before its end a certificate of `duration` is renewed when nothing is said: a third, 30 days at most.
    pub fn default_renew_before(duration: SignedDuration) -> SignedDuration {
        (duration / 3).min(SignedDuration::from_hours(720))
    }

    /// A plan for these names.
    pub fn new(
        dns_names: BTreeSet<String>,
        ip_addresses: BTreeSet<std::net::IpAddr>,
        duration: SignedDuration,
        renew_before: Option<SignedDuration>,
    ) -> Self {
        let renew_before = renew_before.unwrap_or_else(|| Self::default_renew_before(duration));
        Self {
            dns_names,
            ip_addresses,
            duration,
            renew_before,
        }
    }
}

#[cfg(test)]
mod tests;
