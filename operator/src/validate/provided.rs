//! The Secrets and ConfigMaps that a Registry names for its users, its signing secret, its certificate and its Pods.

use std::collections::BTreeMap;

use operator_api::{RegistrySpec, SecretKeyRef};
use registry_config::htpasswd::{self, Htpasswd, RefusedLine};

use super::error::{Collector, Error};
use super::lookup::{config_map, config_value, one_line, secret, tls_secret, value};
use super::registry::ServerTls;
use crate::read::Facts;
use crate::secret_data::{CA_CERTIFICATE, HTTP_SECRET_MIN, text};

/// The contents of the checked Secrets and ConfigMaps.
pub(super) struct Provided {
    /// Contents that the server does not read again by itself.
    ///
    /// The users and the server's certificate are not among them: the server reads both again when they change, so a
    /// rotation interrupts nobody.
    pub(super) inputs: BTreeMap<String, Vec<u8>>,
}

impl Provided {
    /// `None` when one of them is missing or wrong.
    pub(super) fn check(spec: &RegistrySpec, facts: &Facts, found: &mut Collector) -> Option<Self> {
        let known = found.problems.len();
        let mut inputs = BTreeMap::new();
        if let Some(htpasswd) = &spec.auth.htpasswd {
            let (name, key) = (&htpasswd.secret_key_ref.name, &htpasswd.secret_key_ref.key);
            let refused = found.collect(users(name, key, facts));
            if let Some(note) = refused.and_then(|refused| refused_users(name, key, &refused)) {
                found.note(note);
            }
        }
        let http = spec.http.clone().unwrap_or_default();
        let current = http.secret_key_ref.iter();
        let previous = http.previous_secret_key_refs.iter();
        let all = current
            .map(|reference| (reference, "spec.http.secretKeyRef"))
            .chain(previous.map(|reference| (reference, "spec.http.previousSecretKeyRefs")));
        for (reference, field) in all {
            if let Some(bytes) = found.collect(signing_secret(reference, field, facts)) {
                inputs.insert(
                    format!("http/{}/{}", reference.name, reference.key),
                    bytes.to_vec(),
                );
            }
        }
        pod_inputs(spec, facts, &mut inputs, found);
        (found.problems.len() == known).then_some(Self { inputs })
    }
}

/// Checks the Secrets and ConfigMaps that `spec.pod` names.
fn pod_inputs(
    spec: &RegistrySpec,
    facts: &Facts,
    inputs: &mut BTreeMap<String, Vec<u8>>,
    found: &mut Collector,
) {
    let Some(pod) = &spec.pod else { return };
    for source in pod.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        let field = "spec.pod.env";
        if let Some(reference) = &source.secret_key_ref
            && let Some(bytes) = found.collect(value(&reference.name, &reference.key, field, facts))
        {
            let input = format!("env/secret/{}/{}", reference.name, reference.key);
            inputs.insert(input, bytes.to_vec());
        }
        if let Some(reference) = &source.config_map_key_ref
            && let Some(bytes) = found.collect(config_value(&reference.name, &reference.key, field, facts))
        {
            let input = format!("env/configmap/{}/{}", reference.name, reference.key);
            inputs.insert(input, bytes);
        }
    }
    // Files of a volume change under a running server, which may read them again or not. The object only has to exist.
    for volume in &pod.volumes {
        let field = "spec.pod.volumes";
        if let Some(reference) = &volume.secret {
            found.collect(secret(&reference.name, field, facts));
        }
        if let Some(reference) = &volume.config_map {
            found.collect(config_map(&reference.name, field, facts));
        }
    }
}

/// The `ca.crt` of the server's certificate in a Secret of the user's.
pub(super) fn ca(spec: &RegistrySpec, facts: &Facts) -> Option<String> {
    let provided = spec.tls.as_ref()?.secret.as_ref()?;
    text(facts.secrets.get(&provided.name)?.as_ref(), CA_CERTIFICATE)
}

/// The server's certificate; `None` when it is missing or wrong.
pub(super) fn server_tls(
    spec: &RegistrySpec,
    facts: &Facts,
    service_host: &str,
    found: &mut Collector,
) -> Option<ServerTls> {
    let Some(tls) = &spec.tls else {
        return Some(ServerTls::Issued);
    };
    if tls.disabled.is_some() {
        return Some(ServerTls::Disabled);
    }
    let Some(provided) = &tls.secret else {
        return Some(ServerTls::Issued);
    };
    let (certificate, has_ca) = found.collect(tls_secret(&provided.name, "spec.tls.secret", facts))?;
    if certificate.not_after < facts.now {
        found.note(format!(
            "The certificate of Secret `{}` ended on {}; renew it",
            provided.name,
            certificate.not_after.strftime("%Y-%m-%d")
        ));
    }
    let hosts = spec.ingress.iter().flat_map(|ingress| &ingress.hosts);
    let verify_as = std::iter::once(service_host)
        .chain(hosts.map(String::as_str))
        .find(|host| certificate.covers(host))
        .map(str::to_owned);
    Some(ServerTls::Provided {
        secret: provided.name.clone(),
        not_after: certificate.not_after,
        verify_as: verify_as.filter(|_| has_ca),
    })
}

/// Checks that the server will accept at least one user. Gives the lines that it will not accept.
fn users(name: &str, key: &str, facts: &Facts) -> Result<Vec<RefusedLine>, Error> {
    let field = "spec.auth.htpasswd.secretKeyRef";
    let invalid = |problem| Error::secret_invalid(name, key, field, problem);
    let bytes = value(name, key, field, facts)?;
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("is not text"))?;
    let Htpasswd { users, refused } = htpasswd::parse(text);
    if users.is_empty() {
        return Err(invalid(
            "holds no user with a bcrypt hash of a cost from 4 to 16, as `htpasswd -B` writes them",
        ));
    }
    Ok(refused)
}

/// A sentence with the first line that the server will not accept, and the number of the others.
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

/// A secret that signs upload states.
fn signing_secret<'a>(
    reference: &SecretKeyRef,
    field: &'static str,
    facts: &'a Facts,
) -> Result<&'a [u8], Error> {
    let invalid = |problem| Error::secret_invalid(&reference.name, &reference.key, field, problem);
    let bytes = value(&reference.name, &reference.key, field, facts)?;
    let text = one_line(bytes).map_err(invalid)?;
    if text.len() < HTTP_SECRET_MIN {
        return Err(invalid("is shorter than 16 bytes and could be guessed"));
    }
    Ok(bytes)
}
