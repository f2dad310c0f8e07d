//! Third step: the HTTP secret, the CA and the certificates that the operator makes.
//!
//! Guarantees: a stored secret that is still good is returned byte for byte, so nothing is made twice; a certificate is
//! made again only when its names change, its expiry comes near or its CA is another one; a CA is published before it
//! signs. The CA's private key is in
//! memory only during this step and the next two. Must not: talk to the API server; show a key in an error or in Debug
//! output.
//! Start at [`secrets`]. `validate` decides what is made: [`IssuePlan`].

mod ca;
pub mod rotation;
pub mod trust;

use base64::Engine as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::certificate::{KeyPair, key_pair};
use crate::children::{Children, Existing};
use crate::issue_plan::{CertificatePlan, IssuePlan};
use crate::secret_data::{HTTP_SECRET_KEY, TLS_CERTIFICATE, TLS_KEY, text};
use ca::Ca;
pub use rotation::CaSet;
pub use trust::Trust;

/// Random bytes of a generated HTTP secret, before they are written as Base64.
const HTTP_SECRET_BYTES: usize = 32;

/// The Registry's own Secrets that were stored earlier. Secrets of somebody else are not among them.
#[derive(Clone, Copy, Default)]
pub struct StoredSecrets<'a> {
    /// The HTTP secret.
    pub http_secret: Option<&'a Secret>,
    /// The CA.
    pub ca_key: Option<&'a Secret>,
    /// The published CAs.
    pub ca_bundle: Option<&'a ConfigMap>,
    /// The server's certificate.
    pub server: Option<&'a Secret>,
    /// The Ingress's certificate.
    pub edge: Option<&'a Secret>,
}

impl<'a> StoredSecrets<'a> {
    /// Picks the Secrets from the existing children. `validate` asks for none in the place of one that could not be read.
    pub fn of(existing: &'a Children<Existing>) -> Self {
        Self {
            http_secret: existing.http_secret.ours(),
            ca_key: existing.ca_key.ours(),
            ca_bundle: existing.ca_bundle.ours(),
            server: existing.server_certificate.ours(),
            edge: existing.edge_certificate.ours(),
        }
    }
}

/// The generated secrets, stored earlier or made now.
#[derive(Clone, Default)]
pub struct Issued {
    /// The HTTP secret.
    pub http_secret: Option<String>,
    /// The Registry's own CAs; `None` when there is none, or a CA of the author's signs.
    pub cas: Option<CaSet>,
    /// The CAs to publish.
    pub trust: Trust,
    /// The server's certificate.
    pub server: Option<KeyPair>,
    /// The Ingress's certificate.
    pub edge: Option<KeyPair>,
    /// When the first certificate or CA has to be renewed, or a move between plain HTTP and TLS goes on.
    pub next_renewal: Option<Timestamp>,
}

/// Deliberately without contents.
impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued(…)")
    }
}

/// A certificate that could not be made, because of a bug or of the random number generator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CA or a server's certificate.
    #[error("cannot make a certificate for {names}")]
    Certificate {
        /// The names in the certificate.
        names: String,
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
}

/// Makes what `plan` asks for and `stored` does not have. `validate` has checked that the stored secrets can be read.
///
/// # Errors
/// A certificate could not be made.
pub fn secrets(plan: &IssuePlan, stored: StoredSecrets<'_>, now: Timestamp) -> Result<Issued, Error> {
    let http_secret = plan
        .http_secret
        .then(|| text(stored.http_secret, HTTP_SECRET_KEY).unwrap_or_else(random_text));
    let own = stored.ca_key.and_then(CaSet::stored);
    if plan.server.is_none() && plan.edge.is_none() {
        let trust = trust::trust(plan.provided_ca.as_deref(), stored.ca_bundle, now);
        return Ok(Issued {
            http_secret,
            cas: own.filter(|_| plan.provided_signer.is_none()),
            next_renewal: trust.next_end.into_iter().chain(plan.next_change).min(),
            trust,
            ..Default::default()
        });
    }
    let failed = |source| Error::Certificate {
        names: plan.ca_name.clone(),
        source,
    };
    let leaf = plan.longest();
    let cas = match &plan.provided_signer {
        Some(_) => None,
        None => Some(rotation::cas(plan, own, leaf, now).map_err(failed)?),
    };
    let current = cas.as_ref().map(|cas| &cas.current);
    let Some(signer) = plan.provided_signer.as_ref().or(current) else {
        return Ok(Issued::default());
    };
    let next = cas.as_ref().and_then(|cas| cas.next.as_ref());
    let trust = trust::trust(
        [Some(signer), next.map(|next| &next.pair)]
            .into_iter()
            .flatten()
            .map(|pair| pair.certificate.as_str())
            .chain(plan.provided_ca.as_deref()),
        stored.ca_bundle,
        now,
    );
    let ca = Ca::load(signer.clone()).map_err(failed)?;
    let sign = |plan: &Option<CertificatePlan>, stored: Option<&Secret>| {
        plan.as_ref()
            .map(|plan| certificate_of(&ca, plan, stored, now))
            .transpose()
    };
    let server = sign(&plan.server, stored.server)?;
    let edge = sign(&plan.edge, stored.edge)?;
    let renewals = [(&plan.server, &server), (&plan.edge, &edge)];
    let next_renewal = renewals
        .into_iter()
        .filter_map(|(plan, pair)| renewal(plan.as_ref()?, pair.as_ref()?, signer))
        .chain(cas.as_ref().map(|cas| cas.due(leaf)))
        .chain(trust.next_end)
        .chain(plan.next_change)
        .min();
    Ok(Issued {
        http_secret,
        cas,
        trust,
        server,
        edge,
        next_renewal,
    })
}

/// The stored certificate, or a new one when the stored one does not fit the plan any more.
fn certificate_of(
    ca: &Ca,
    plan: &CertificatePlan,
    stored: Option<&Secret>,
    now: Timestamp,
) -> Result<KeyPair, Error> {
    if let Some(pair) = stored.and_then(|secret| still_good(ca, plan, secret, now)) {
        return Ok(pair);
    }
    let names = || plan.dns_names.iter().cloned().collect::<Vec<_>>().join(", ");
    ca.sign(plan, now).map_err(|source| Error::Certificate {
        names: names(),
        source,
    })
}

fn still_good(ca: &Ca, plan: &CertificatePlan, secret: &Secret, now: Timestamp) -> Option<KeyPair> {
    let certificate = text(Some(secret), TLS_CERTIFICATE)?;
    let key = text(Some(secret), TLS_KEY)?;
    let parsed = key_pair(certificate.as_bytes(), key.as_bytes()).ok()?;
    let good = parsed.dns_names == plan.dns_names
        && parsed.ip_addresses == plan.ip_addresses
        && parsed.issued_by(ca.certificate())
        // A certificate that expires with its CA cannot be made to last longer.
        && (now < parsed.not_after - plan.renew_before || parsed.not_after >= ca.certificate().not_after)
        // A duration that was shortened takes effect now and not at the next renewal.
        && parsed.not_after.duration_since(parsed.not_before) <= plan.duration + 2 * ca::BACKDATED;
    good.then_some(KeyPair {
        certificate,
        key,
        not_after: parsed.not_after,
    })
}

/// When a certificate has to be renewed. One that expires with its CA cannot be renewed: a date in the past would start
/// one reconcile after another.
fn renewal(plan: &CertificatePlan, pair: &KeyPair, ca: &KeyPair) -> Option<Timestamp> {
    (pair.not_after < ca.not_after).then(|| pair.not_after - plan.renew_before)
}

fn random_text() -> String {
    let bytes: [u8; HTTP_SECRET_BYTES] = rand::random();
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
