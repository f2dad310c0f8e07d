//! Looks up the Secrets and ConfigMaps that a Registry names. Each error names the field that names the object.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use operator_api::is_object_name;

use super::error::Error;
use crate::certificate::{Certificate, key_pair};
use crate::read::Facts;
use crate::secret_data::{CA_CERTIFICATE, TLS_CERTIFICATE, TLS_KEY};

/// Checks the certificate and key of a Secret. Gives the certificate, and whether the Secret has a `ca.crt`.
pub(super) fn tls_secret(
    name: &str,
    field: &'static str,
    facts: &Facts,
) -> Result<(Certificate, bool), Error> {
    let certificate = value(name, TLS_CERTIFICATE, field, facts)?;
    let key = value(name, TLS_KEY, field, facts)?;
    let parsed = key_pair(certificate, key).map_err(|problem| Error::CertificateInvalid {
        name: name.to_owned(),
        field,
        problem,
        kept: false,
    })?;
    let ca = secret(name, field, facts)?
        .data
        .as_ref()
        .and_then(|data| data.get(CA_CERTIFICATE));
    if let Some(ByteString(ca)) = ca {
        Certificate::parse(ca).map_err(|_| Error::SecretInvalid {
            name: name.to_owned(),
            key: CA_CERTIFICATE.to_owned(),
            field,
            problem: "is not a PEM certificate",
            kept: false,
        })?;
    }
    Ok((parsed, ca.is_some()))
}

/// The bytes of one key of a Secret.
pub(super) fn value<'a>(
    name: &str,
    key: &str,
    field: &'static str,
    facts: &'a Facts,
) -> Result<&'a [u8], Error> {
    let data = secret(name, field, facts)?.data.as_ref();
    match data.and_then(|data| data.get(key)) {
        Some(ByteString(bytes)) => Ok(bytes),
        None => Err(Error::KeyMissing {
            kind: "Secret",
            name: name.to_owned(),
            key: key.to_owned(),
            field,
        }),
    }
}

/// The bytes of one key of a ConfigMap.
pub(super) fn config_value(
    name: &str,
    key: &str,
    field: &'static str,
    facts: &Facts,
) -> Result<Vec<u8>, Error> {
    let found = config_map(name, field, facts)?;
    let text = found
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .map(|text| text.clone().into_bytes());
    let bytes = || Some(found.binary_data.as_ref()?.get(key)?.0.clone());
    text.or_else(bytes).ok_or_else(|| Error::KeyMissing {
        kind: "ConfigMap",
        name: name.to_owned(),
        key: key.to_owned(),
        field,
    })
}

/// Refuses a name that no object can have. The API server's rules do so as well, but not for a Registry that was
/// stored before them.
pub(super) fn check_name(kind: &'static str, name: &str, field: &'static str) -> Result<(), Error> {
    if is_object_name(name) {
        return Ok(());
    }
    Err(Error::NameInvalid {
        kind,
        name: name.to_owned(),
        field,
    })
}

pub(super) fn secret<'a>(name: &str, field: &'static str, facts: &'a Facts) -> Result<&'a Secret, Error> {
    check_name("Secret", name, field)?;
    readable("Secret", name, field, facts)?;
    let found = facts.secrets.get(name).and_then(Option::as_ref);
    found.ok_or_else(|| Error::SecretMissing {
        name: name.to_owned(),
        field,
    })
}

pub(super) fn config_map<'a>(
    name: &str,
    field: &'static str,
    facts: &'a Facts,
) -> Result<&'a ConfigMap, Error> {
    check_name("ConfigMap", name, field)?;
    readable("ConfigMap", name, field, facts)?;
    let found = facts.config_maps.get(name).and_then(Option::as_ref);
    found.ok_or_else(|| Error::ConfigMapMissing {
        name: name.to_owned(),
        field,
    })
}

/// Checks that the object could be read, if it exists.
pub(super) fn readable(
    kind: &'static str,
    name: &str,
    field: &'static str,
    facts: &Facts,
) -> Result<(), Error> {
    match facts.unreadable.get(&(kind, name.to_owned())) {
        None => Ok(()),
        Some(why) => Err(Error::Unreadable {
            kind,
            name: name.to_owned(),
            field,
            why: why.clone(),
        }),
    }
}

/// Checks that a value can be an environment variable's: one line of text.
pub(super) fn one_line(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
    if text.contains(['\0', '\n', '\r']) {
        return Err("must be one line of text");
    }
    Ok(text)
}
