//! Reads certificates and private keys, which a user may have written.
//!
//! Guarantees: an error never quotes what was read. Must not: make a certificate, which `issue` does.
//! Start at [`key_pair`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::names::hex;
use crate::secret_data::{CA_CERTIFICATE, TLS_CERTIFICATE, TLS_KEY, text};

/// A certificate and its private key, as PEM.
#[derive(Clone, Eq, PartialEq)]
pub struct KeyPair {
    /// The certificate, followed by the intermediate certificates.
    pub certificate: String,
    /// The private key.
    pub key: String,
    /// When the certificate expires.
    pub not_after: Timestamp,
}

/// Deliberately without contents.
impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair(until {})", self.not_after)
    }
}

/// The fields of a certificate that the operator looks at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// DNS names.
    pub dns_names: BTreeSet<String>,
    /// IP addresses.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// When it becomes valid.
    pub not_before: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
    /// Whether it may sign others.
    pub is_ca: bool,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key_identifier: Option<Vec<u8>>,
    issuer_key_identifier: Option<Vec<u8>>,
}

/// Why a certificate and a key cannot be used. The text quotes neither.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyPairError {
    /// No PEM block with a certificate, or one that cannot be read.
    #[error("the certificate is not a PEM certificate")]
    Certificate,
    /// No PEM block with a private key, or one that cannot be used.
    #[error("the key is not a PEM private key of a kind that is supported")]
    Key,
    /// Both can be read, but the key belongs to another certificate.
    #[error("the key is not the certificate's")]
    Mismatch,
    /// The certificate must not sign others.
    #[error("the certificate is not a CA's")]
    NotACa,
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

    /// Checks that a PEM text can serve as a list of CAs: every block is complete, and at least one certificate can be
    /// read. The lists of operating systems hold old certificates that strict parsers refuse.
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

    /// Reads a certificate in DER.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, KeyPairError> {
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
        let mut issuer_key_identifier = None;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => {
                    key_identifier = Some(id.0.to_vec());
                }
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                    issuer_key_identifier = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        Ok(Self {
            dns_names,
            ip_addresses,
            not_before: moment(certificate.validity().not_before.timestamp())?,
            not_after: moment(certificate.validity().not_after.timestamp())?,
            is_ca: certificate.is_ca(),
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            key_identifier,
            issuer_key_identifier,
        })
    }

    /// Whether `ca` signed this certificate, by name and key identifier. The signature is not checked: both objects are
    /// the operator's own, and clients verify it themselves.
    pub(crate) fn issued_by(&self, ca: &Self) -> bool {
        self.issuer == ca.subject && self.issuer_key_identifier == ca.key_identifier
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

/// The certificates of a PEM text without the rest. A private key in the same file must not be published.
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

/// The certificates of a PEM text, one by one.
pub(crate) fn blocks(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let all = only_certificates(pem);
    all.split_inclusive(END).map(str::to_owned).collect()
}

/// Checks that a server can serve with this certificate and key, and gives the certificate's fields.
///
/// # Errors
/// The certificate or the key cannot be read, or they do not belong together.
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

/// The CA's certificate and key in a Secret.
///
/// # Errors
/// The certificate or the key cannot be read, they do not belong together, or the certificate is not a CA's.
pub(crate) fn ca(secret: &Secret) -> Result<KeyPair, KeyPairError> {
    let certificate = text(Some(secret), CA_CERTIFICATE).ok_or(KeyPairError::Certificate)?;
    let key = text(Some(secret), TLS_KEY).ok_or(KeyPairError::Key)?;
    signer(&certificate, &key)
}

/// Checks that a CA can sign with this certificate and key.
///
/// # Errors
/// The certificate or the key cannot be read, they do not belong together, or the certificate is not a CA's.
pub(crate) fn signer(certificate: &str, key: &str) -> Result<KeyPair, KeyPairError> {
    let parsed = key_pair(certificate.as_bytes(), key.as_bytes())?;
    if !parsed.is_ca {
        return Err(KeyPairError::NotACa);
    }
    rcgen::KeyPair::from_pem(key).map_err(|_| KeyPairError::Key)?;
    Ok(KeyPair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        not_after: parsed.not_after,
    })
}

/// Annotation with the fingerprint of the certificate that the operator stored.
pub(crate) const ISSUED_ANNOTATION: &str = "berth.dev/issued-certificate";

/// Fingerprint of a certificate's PEM text.
pub(crate) fn fingerprint(certificate: &str) -> String {
    hex(&Sha256::digest(certificate.as_bytes())[..16])
}

/// Whether the certificate in a Secret of ours was made by the operator. A certificate and key that fit together and
/// came from elsewhere were put there by somebody who needs them; anything else is only damage.
pub(crate) fn is_issued(secret: &Secret, ca_key: Option<&Secret>) -> bool {
    let (Some(certificate), Some(key)) = (text(Some(secret), TLS_CERTIFICATE), text(Some(secret), TLS_KEY))
    else {
        return true;
    };
    let noted = secret
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(ISSUED_ANNOTATION));
    if noted.is_some_and(|noted| *noted == fingerprint(&certificate)) {
        return true;
    }
    let Ok(parsed) = key_pair(certificate.as_bytes(), key.as_bytes()) else {
        return true;
    };
    let ca = text(ca_key, CA_CERTIFICATE).and_then(|ca| Certificate::parse(ca.as_bytes()).ok());
    ca.is_some_and(|ca| parsed.issued_by(&ca))
}
