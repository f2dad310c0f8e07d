//! Reading certificates and keys that somebody else may have written.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{CA_CERTIFICATE, KeyPair, TLS_KEY, text};

/// What a certificate says, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// DNS names.
    pub dns_names: BTreeSet<String>,
    /// IP addresses.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// First moment of its validity.
    pub not_before: Timestamp,
    /// Last moment of its validity.
    pub not_after: Timestamp,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key_identifier: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
}

/// Why a certificate and a key do not work. Never quotes either.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyPairError {
    /// No PEM block with a certificate, or one that cannot be read.
    #[error("the certificate is not a PEM certificate")]
    Certificate,
    /// No PEM block with a private key, or one that cannot be used.
    #[error("the key is not a PEM private key of a kind that is supported")]
    Key,
    /// Both are good, but not for each other.
    #[error("the key is not the certificate's")]
    Mismatch,
}

impl Certificate {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`KeyPairError::Certificate`].
    pub fn parse(pem: &[u8]) -> Result<Self, KeyPairError> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| KeyPairError::Certificate)?;
        Self::from_der(&der)
    }

    /// Whether a PEM text can serve as a list of CAs: it is whole, and at least one of them can be read. Lists
    /// that systems come with hold old ones that nobody's parser likes.
    ///
    /// # Errors
    /// [`KeyPairError::Certificate`].
    pub fn check_bundle(pem: &[u8]) -> Result<(), KeyPairError> {
        let all = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| KeyPairError::Certificate)?;
        if all.iter().any(|der| Self::from_der(der).is_ok()) {
            return Ok(());
        }
        Err(KeyPairError::Certificate)
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyPairError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| KeyPairError::Certificate)?;
        let moment = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| KeyPairError::Certificate);
        let mut dns_names = BTreeSet::new();
        let mut ip_addresses = BTreeSet::new();
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| KeyPairError::Certificate)?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => {
                    dns_names.insert((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => {
                    ip_addresses.extend(ip_address(bytes));
                }
                _ => {}
            }
        }
        let mut key_identifier = None;
        let mut authority_key_identifier = None;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => {
                    key_identifier = Some(id.0.to_vec());
                }
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                    authority_key_identifier = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        Ok(Self {
            dns_names,
            ip_addresses,
            not_before: moment(certificate.validity().not_before.timestamp())?,
            not_after: moment(certificate.validity().not_after.timestamp())?,
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            key_identifier,
            authority_key_identifier,
        })
    }

    /// Whether `ca` signed this, judged by name and key identifier. Both are ours, so nobody has a reason to
    /// forge them; what clients trust they check themselves.
    pub(super) fn issued_by(&self, ca: &Self) -> bool {
        self.issuer == ca.subject && self.authority_key_identifier == ca.key_identifier
    }

    /// Whether a client that asked for `host` accepts this name: exactly, or by a wildcard for one label.
    pub fn covers(&self, host: &str) -> bool {
        self.dns_names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The certificates of a PEM text and nothing else of it: what is published must not carry along a key somebody put
/// into the same file.
pub(crate) fn only_certificates(pem: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in pem.lines().map(str::trim) {
        inside |= line == "-----BEGIN CERTIFICATE-----";
        if inside {
            text.push_str(line);
            text.push('\n');
        }
        inside &= line != "-----END CERTIFICATE-----";
    }
    text
}

/// Checks that a server could serve with these, and says what the certificate says.
///
/// # Errors
/// What is wrong, without quoting either.
pub fn key_pair(certificate: &[u8], key: &[u8]) -> Result<Certificate, KeyPairError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_| KeyPairError::Certificate)?;
    let leaf = chain.first().ok_or(KeyPairError::Certificate)?;
    let parsed = Certificate::from_der(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| KeyPairError::Key)?;
    let signing = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| KeyPairError::Key)?;
    CertifiedKey::new(chain, signing)
        .keys_match()
        .map_err(|_| KeyPairError::Mismatch)?;
    Ok(parsed)
}

/// The CA a Secret holds.
pub(super) fn ca(secret: &Secret) -> Result<KeyPair, KeyPairError> {
    let certificate = text(Some(secret), CA_CERTIFICATE).ok_or(KeyPairError::Certificate)?;
    let key = text(Some(secret), TLS_KEY).ok_or(KeyPairError::Key)?;
    let parsed = key_pair(certificate.as_bytes(), key.as_bytes())?;
    Ok(KeyPair {
        certificate,
        key,
        not_after: parsed.not_after,
    })
}
