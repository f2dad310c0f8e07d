//! Secrets and ConfigMaps the Registry names: are they there, and do they hold what they must?

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use operator_api::{RegistrySpec, SecretKeyRef};
use registry_config::htpasswd::{self, Htpasswd, RefusedLine};

use super::{Error, HTTP_SECRET_MIN, ServerTls};
use crate::issue::{CA_CERTIFICATE, Certificate, TLS_CERTIFICATE, TLS_KEY, key_pair};
use crate::names::Names;
use crate::read::Facts;

/// What the checked references hold.
pub(super) struct Provided {
    /// Whether the HTTP secret has to be generated.
    pub(super) http_secret: bool,
    /// Contents the Pods do not follow by themselves.
    ///
    /// Not in it: the users and the server's certificate. The server reads both again when they change, so that a
    /// rotation interrupts nobody.
    pub(super) inputs: BTreeMap<String, Vec<u8>>,
    /// `ca.crt` of the server's certificate.
    pub(super) ca: Option<String>,
}

impl Provided {
    pub(super) fn check(spec: &RegistrySpec, facts: &Facts, notes: &mut Vec<String>) -> Result<Self, Error> {
        let mut inputs = BTreeMap::new();
        if let Some(htpasswd) = &spec.auth.htpasswd {
            let (name, key) = (&htpasswd.secret_key_ref.name, &htpasswd.secret_key_ref.key);
            let field = "spec.auth.htpasswd.secretKeyRef";
            let refused = users(value(name, key, field, facts)?).map_err(|problem| Error::SecretInvalid {
                name: name.clone(),
                key: key.clone(),
                field,
                problem,
            })?;
            notes.extend(refused_users(name, key, &refused));
        }
        let mut http_secret = |reference: &SecretKeyRef, field: &'static str| {
            let bytes = value(&reference.name, &reference.key, field, facts)?;
            signing_secret(bytes).map_err(|problem| Error::SecretInvalid {
                name: reference.name.clone(),
                key: reference.key.clone(),
                field,
                problem,
            })?;
            inputs.insert(
                format!("http/{}/{}", reference.name, reference.key),
                bytes.to_vec(),
            );
            Ok(())
        };
        let http = spec.http.clone().unwrap_or_default();
        if let Some(reference) = &http.secret_key_ref {
            http_secret(reference, "spec.http.secretKeyRef")?;
        }
        for reference in &http.previous_secret_key_refs {
            http_secret(reference, "spec.http.previousSecretKeyRefs")?;
        }
        pod_inputs(spec, facts, &mut inputs)?;
        let ca = spec
            .tls
            .as_ref()
            .and_then(|tls| tls.secret.as_ref())
            .and_then(|tls| crate::issue::text(facts.secrets.get(&tls.name)?.as_ref(), CA_CERTIFICATE));
        Ok(Self {
            http_secret: http.secret_key_ref.is_none(),
            inputs,
            ca,
        })
    }
}

/// What `spec.pod` names.
fn pod_inputs(
    spec: &RegistrySpec,
    facts: &Facts,
    inputs: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), Error> {
    let Some(pod) = &spec.pod else { return Ok(()) };
    for source in pod.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(reference) = &source.secret_key_ref {
            let bytes = value(&reference.name, &reference.key, "spec.pod.env", facts)?;
            inputs.insert(
                format!("env/secret/{}/{}", reference.name, reference.key),
                bytes.to_vec(),
            );
        }
        if let Some(reference) = &source.config_map_key_ref {
            let bytes = config_value(&reference.name, &reference.key, "spec.pod.env", facts)?;
            inputs.insert(
                format!("env/configmap/{}/{}", reference.name, reference.key),
                bytes,
            );
        }
    }
    // Files of a volume change under a running server, which may follow them or not: the volume need only be there.
    for volume in &pod.volumes {
        if let Some(reference) = &volume.secret {
            secret(&reference.name, "spec.pod.volumes", facts)?;
        }
        if let Some(reference) = &volume.config_map {
            config_map(&reference.name, "spec.pod.volumes", facts)?;
        }
    }
    Ok(())
}

/// The server's certificate.
pub(super) fn server_tls(
    spec: &RegistrySpec,
    facts: &Facts,
    names: &Names,
    namespace: &str,
    notes: &mut Vec<String>,
) -> Result<Option<ServerTls>, Error> {
    let Some(tls) = &spec.tls else {
        return Ok(Some(ServerTls::Issued));
    };
    if tls.disabled.is_some() {
        return Ok(None);
    }
    let Some(provided) = &tls.secret else {
        return Ok(Some(ServerTls::Issued));
    };
    let (certificate, has_ca) = tls_secret(&provided.name, "spec.tls.secret", facts)?;
    if certificate.not_after < facts.now {
        notes.push(format!(
            "The certificate of Secret `{}` ended on {}; renew it",
            provided.name,
            certificate.not_after.strftime("%Y-%m-%d")
        ));
    }
    let service = format!("{}.{namespace}.svc", names.service());
    let hosts = spec.ingress.iter().flat_map(|ingress| ingress.hosts.iter());
    let verify_as = std::iter::once(&service)
        .chain(hosts)
        .find(|host| certificate.covers(host))
        .cloned();
    Ok(Some(ServerTls::Provided {
        secret: provided.name.clone(),
        not_after: certificate.not_after,
        verify_as: verify_as.filter(|_| has_ca),
    }))
}

/// A certificate and its key, and whether a `ca.crt` is beside them.
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

fn secret<'a>(name: &str, field: &'static str, facts: &'a Facts) -> Result<&'a Secret, Error> {
    let found = facts.secrets.get(name).and_then(Option::as_ref);
    found.ok_or_else(|| Error::SecretMissing {
        name: name.to_owned(),
        field,
    })
}

fn config_map<'a>(name: &str, field: &'static str, facts: &'a Facts) -> Result<&'a ConfigMap, Error> {
    let found = facts.config_maps.get(name).and_then(Option::as_ref);
    found.ok_or_else(|| Error::ConfigMapMissing {
        name: name.to_owned(),
        field,
    })
}

/// At least one user the server will accept; gives the lines that it will not.
fn users(bytes: &[u8]) -> Result<Vec<RefusedLine>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
    let Htpasswd { users, refused } = htpasswd::parse(text);
    match users.is_empty() {
        true => Err("holds no user with a bcrypt hash of a cost from 4 to 16, as `htpasswd -B` writes them"),
        false => Ok(refused),
    }
}

/// The first line that the server will not accept, and how many more there are.
fn refused_users(name: &str, key: &str, refused: &[RefusedLine]) -> Option<String> {
    let (RefusedLine { line, user, problem }, others) = refused.split_first()?;
    let user = user
        .as_ref()
        .map_or(String::new(), |user| format!(", of user `{user}`,"));
    let others = match others.len() {
        0 => String::new(),
        1 => "; nor is 1 more line".to_owned(),
        others => format!("; nor are {others} more lines"),
    };
    Some(format!(
        "Line {line}{user} of key `{key}` of Secret `{name}` is not accepted by the server: {problem}{others}"
    ))
}

fn signing_secret(bytes: &[u8]) -> Result<(), &'static str> {
    let text = one_line(bytes)?;
    if text.len() < HTTP_SECRET_MIN {
        return Err("is shorter than 16 bytes and could be guessed");
    }
    Ok(())
}

/// Text that can be a variable's value.
pub(super) fn one_line(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
    if text.contains(['\0', '\n', '\r']) {
        return Err("must be one line of text");
    }
    Ok(text)
}
