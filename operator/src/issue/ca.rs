//! The CA of a Registry, and the certificates it signs.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair as SigningKey, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::certificate::{Certificate, KeyPair};
use crate::issue_plan::CertificatePlan;

/// A certificate is valid from this long before it was made, because clocks differ.
pub(super) const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// Ten years. `rotation` makes the next CA in time.
const CA_DURATION: SignedDuration = SignedDuration::from_hours(87_600);

/// A CA that can sign.
pub(super) struct Ca {
    pair: KeyPair,
    parsed: Certificate,
    issuer: Issuer<'static, SigningKey>,
}

impl Ca {
    /// Makes a CA with a new key.
    pub(super) fn make(name: &str, now: Timestamp) -> Result<Self, rcgen::Error> {
        let key = SigningKey::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.not_before = time(now - BACKDATED);
        params.not_after = time(now + CA_DURATION);
        let certificate = params.self_signed(&key)?.pem();
        let not_after = whole_seconds(now + CA_DURATION);
        Self::load(KeyPair {
            certificate,
            key: key.serialize_pem(),
            not_after,
        })
    }

    /// Takes a CA that was made before.
    pub(super) fn load(pair: KeyPair) -> Result<Self, rcgen::Error> {
        let key = SigningKey::from_pem(&pair.key)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key)?;
        let parsed = Certificate::parse(pair.certificate.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        Ok(Self { pair, parsed, issuer })
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.parsed
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.pair
    }

    /// Makes a server's certificate with a new key. It expires with the CA at the latest.
    pub(super) fn sign(&self, plan: &CertificatePlan, now: Timestamp) -> Result<KeyPair, rcgen::Error> {
        let key = SigningKey::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // The subject is for people: clients check the alternative names only.
        params.distinguished_name = common_name(plan.dns_names.first().map_or("registry", String::as_str));
        params.subject_alt_names = plan
            .dns_names
            .iter()
            .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
            .chain(
                plan.ip_addresses
                    .iter()
                    .map(|address| Ok(SanType::IpAddress(*address))),
            )
            .collect::<Result<_, rcgen::Error>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let not_after = (now + plan.duration).min(self.pair.not_after);
        params.not_before = time(now - BACKDATED);
        params.not_after = time(not_after);
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(KeyPair {
            certificate,
            key: key.serialize_pem(),
            not_after: whole_seconds(not_after),
        })
    }
}

/// A subject of at most 64 characters, the limit of a common name.
fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

fn time(moment: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Cuts the fraction of a second, which a certificate cannot hold.
fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}
