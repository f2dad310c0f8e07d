//! The plan that `validate` makes for `issue`: names and durations of certificates, and whether an HTTP secret is
//! needed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::certificate::KeyPair;

/// The longest default of [`CertificatePlan::renew_before`]: 30 days.
const RENEW_BEFORE_MAX: SignedDuration = SignedDuration::from_hours(720);

/// The generated secrets of one Registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IssuePlan {
    /// Whether an HTTP secret is generated, because the Registry names none.
    pub http_secret: bool,
    /// The server's certificate.
    pub server: Option<CertificatePlan>,
    /// The Ingress's certificate.
    pub edge: Option<CertificatePlan>,
    /// Common name of the CA, for when it has to be made.
    pub ca_name: String,
    /// A CA of the author's, which signs in place of the Registry's own.
    pub provided_signer: Option<KeyPair>,
    /// When something other than a certificate has to change.
    pub next_change: Option<Timestamp>,
    /// The last request to renew the CA.
    pub renew_ca: Option<String>,
    /// CAs of a certificate that the author provides, which are published too.
    pub provided_ca: Option<String>,
}

impl IssuePlan {
    /// How long the longest certificate is valid.
    pub(crate) fn longest(&self) -> SignedDuration {
        let plans = self.server.iter().chain(&self.edge);
        plans.map(|plan| plan.duration).max().unwrap_or_default()
    }
}

/// The contents of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificatePlan {
    /// DNS names, sorted so that they can be compared.
    pub dns_names: BTreeSet<String>,
    /// IP addresses.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// How long it is valid.
    pub duration: SignedDuration,
    /// How long before its expiry it is renewed.
    pub renew_before: SignedDuration,
}

impl CertificatePlan {
    /// A plan for these names. Without `renew_before` the certificate is renewed after two thirds of `duration`, or 30
    /// days before its expiry when that is later.
    pub fn new(
        dns_names: BTreeSet<String>,
        ip_addresses: BTreeSet<IpAddr>,
        duration: SignedDuration,
        renew_before: Option<SignedDuration>,
    ) -> Self {
        Self {
            dns_names,
            ip_addresses,
            duration,
            renew_before: renew_before.unwrap_or_else(|| (duration / 3).min(RENEW_BEFORE_MAX)),
        }
    }
}
