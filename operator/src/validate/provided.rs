//! The Secrets and ConfigMaps that a Registry names for its users, its signing secret, its certificate and its Pods.

use std::collections::BTreeMap;

use operator_api::{RegistrySpec, SecretKeyRef};
use registry_config::htpasswd::{self, Htpasswd, RefusedLine};

use super::error::{Collector, Error};
use super::lookup::{config_map, config_value, one_line, secret, tls_secret, value};
use super::registry::{LiveFiles, PodVolume, ServerTls, VolumeSource};
use crate::findings::Rollout;
use crate::input_keys::{self, USERS};
use crate::pod_layout::{HTPASSWD_VOLUME, HTTP_SECRET_VARIABLE, PREVIOUS_SECRETS_VARIABLE, TLS_VOLUME};
use crate::read::Facts;
use crate::secret_data::{CA_CERTIFICATE, HTTP_SECRET_MIN, TLS_CERTIFICATE, TLS_KEY, text};

/// The most bytes of a volume's files that are copied. Larger ones stay with their author's object.
const VOLUME_MAX: usize = 32 * 1024;

/// The most bytes of the users. They share a Secret with the certificate.
const USERS_MAX: usize = 900_000;

/// The contents of the checked Secrets and ConfigMaps.
pub(super) struct Provided {
    /// Contents that the server does not read again by itself, by their keys in the Secret with the inputs.
    ///
    /// The users and the server's certificate are not among them: the server reads both again when they change, so a
    /// rotation interrupts nobody.
    pub(super) inputs: BTreeMap<String, Vec<u8>>,
    /// The volumes of `spec.pod`.
    pub(super) volumes: Vec<PodVolume>,
}

impl Provided {
    /// `None` when one of them is missing or wrong.
    pub(super) fn check(spec: &RegistrySpec, facts: &Facts, found: &mut Collector) -> Option<Self> {
        let known = found.problems.len();
        let mut inputs = BTreeMap::new();
        let http = spec.http.clone().unwrap_or_default();
        let current = http.secret_key_ref.iter().map(|reference| {
            let variable = HTTP_SECRET_VARIABLE.to_owned();
            (variable, reference, "spec.http.secretKeyRef")
        });
        let previous = http.previous_secret_key_refs.iter().enumerate();
        let previous = previous.map(|(at, reference)| {
            let variable = format!("{PREVIOUS_SECRETS_VARIABLE}{at}");
            (variable, reference, "spec.http.previousSecretKeyRefs")
        });
        for (variable, reference, field) in current.chain(previous) {
            if let Some(bytes) = found.collect(signing_secret(reference, field, facts)) {
                inputs.insert(input_keys::variable(&variable), bytes.to_vec());
            }
        }
        variables(spec, facts, &mut inputs, found);
        let volumes = volumes(spec, facts, &mut inputs, found);
        (found.problems.len() == known).then_some(Self { inputs, volumes })
    }
}

/// The values of the variables of `spec.pod` that come from Secrets and ConfigMaps.
fn variables(
    spec: &RegistrySpec,
    facts: &Facts,
    inputs: &mut BTreeMap<String, Vec<u8>>,
    found: &mut Collector,
) {
    for variable in spec.pod.iter().flat_map(|pod| &pod.env) {
        let Some(source) = &variable.value_from else {
            continue;
        };
        let field = "spec.pod.env";
        let secret = source.secret_key_ref.as_ref();
        let secret = secret.map(|from| value(&from.name, &from.key, field, facts).map(<[u8]>::to_vec));
        let config_map = source.config_map_key_ref.as_ref();
        let config_map = config_map.map(|from| config_value(&from.name, &from.key, field, facts));
        for bytes in secret.into_iter().chain(config_map) {
            if let Some(bytes) = found.collect(bytes) {
                inputs.insert(input_keys::variable(&variable.name), bytes);
            }
        }
    }
}

/// The volumes of `spec.pod`. The files of small ones become inputs.
fn volumes(
    spec: &RegistrySpec,
    facts: &Facts,
    inputs: &mut BTreeMap<String, Vec<u8>>,
    found: &mut Collector,
) -> Vec<PodVolume> {
    let mut volumes = Vec::new();
    for volume in spec.pod.iter().flat_map(|pod| &pod.volumes) {
        let field = "spec.pod.volumes";
        let (files, original) = if let Some(reference) = &volume.secret {
            let Some(object) = found.collect(secret(&reference.name, field, facts)) else {
                continue;
            };
            let data = object.data.iter().flatten();
            let files: Vec<(&String, &[u8])> = data.map(|(key, bytes)| (key, bytes.0.as_slice())).collect();
            (files, VolumeSource::Secret(reference.name.clone()))
        } else if let Some(reference) = &volume.config_map {
            let Some(object) = found.collect(config_map(&reference.name, field, facts)) else {
                continue;
            };
            let data = object.data.iter().flatten();
            let binary = object.binary_data.iter().flatten();
            let files = data
                .map(|(key, text)| (key, text.as_bytes()))
                .chain(binary.map(|(key, bytes)| (key, bytes.0.as_slice())));
            (files.collect(), VolumeSource::ConfigMap(reference.name.clone()))
        } else {
            continue;
        };
        volumes.push(PodVolume {
            name: volume.name.clone(),
            mount_path: volume.mount_path.clone(),
            source: copied(&volume.name, &files, inputs).unwrap_or(original),
        });
    }
    volumes
}

/// Copies the files of a volume into the inputs; `None` when there are none, or too many bytes.
fn copied(
    volume: &str,
    files: &[(&String, &[u8])],
    inputs: &mut BTreeMap<String, Vec<u8>>,
) -> Option<VolumeSource> {
    let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let keys: Option<Vec<String>> = files
        .iter()
        .map(|(file, _)| input_keys::volume_file(volume, file))
        .collect();
    let keys = keys.filter(|keys| !keys.is_empty() && size <= VOLUME_MAX)?;
    for (key, (_, bytes)) in keys.iter().zip(files) {
        inputs.insert(key.clone(), bytes.to_vec());
    }
    let names = files.iter().map(|(file, _)| (*file).clone());
    Some(VolumeSource::Inputs(keys.into_iter().zip(names).collect()))
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
    let routes = spec.http_route.iter().flat_map(|route| &route.hostnames);
    let hosts = spec
        .ingress
        .iter()
        .flat_map(|ingress| &ingress.hosts)
        .chain(routes);
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

/// The users; `None` when they are wrong or none are asked for.
pub(super) fn users(spec: &RegistrySpec, facts: &Facts, found: &mut Collector) -> Option<Vec<u8>> {
    let reference = &spec.auth.htpasswd.as_ref()?.secret_key_ref;
    let (name, key) = (&reference.name, &reference.key);
    let (bytes, refused) = found.collect(users_file(name, key, facts))?;
    if let Some(note) = refused_users(name, key, &refused) {
        found.note(note);
    }
    Some(bytes.to_vec())
}

/// The users and a provided certificate, and what stays of the live Secret as it is.
pub(super) fn live(
    spec: &RegistrySpec,
    users: Option<Vec<u8>>,
    tls: Option<&ServerTls>,
    facts: &Facts,
) -> LiveFiles {
    let certificate = match tls {
        Some(ServerTls::Provided { secret, .. }) => {
            let entry = |key| {
                let object = facts.secrets.get(secret)?.as_ref()?;
                Some(object.data.as_ref()?.get(key)?.0.clone())
            };
            entry(TLS_CERTIFICATE).zip(entry(TLS_KEY))
        }
        Some(ServerTls::Issued | ServerTls::Disabled) | None => None,
    };
    LiveFiles {
        kept: kept(spec, facts),
        users,
        certificate,
    }
}

/// The content of the live Secret, but for what is neither asked for nor read by a Pod any more.
fn kept(spec: &RegistrySpec, facts: &Facts) -> BTreeMap<String, Vec<u8>> {
    let plain = spec.tls.as_ref().is_some_and(|tls| tls.disabled.is_some());
    let deployment = facts.existing.deployment.ours();
    let rolled_out = deployment.map(Rollout::of) == Some(Rollout::Complete);
    let mounted = |volume: &str| {
        let pod = deployment.and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref());
        let mut volumes = pod.iter().flat_map(|pod| pod.volumes.iter().flatten());
        !rolled_out || volumes.any(|mounted| mounted.name == volume)
    };
    let stored = facts.existing.live.ours();
    let data = stored.into_iter().flat_map(|secret| secret.data.iter().flatten());
    data.filter(|(key, _)| match key.as_str() {
        USERS => spec.auth.htpasswd.is_some() || mounted(HTPASSWD_VOLUME),
        TLS_CERTIFICATE | TLS_KEY => !plain || mounted(TLS_VOLUME),
        _ => false,
    })
    .map(|(key, bytes)| (key.clone(), bytes.0.clone()))
    .collect()
}

/// Checks that the server will accept at least one user. Gives the file, and the lines that it will not accept.
fn users_file<'a>(name: &str, key: &str, facts: &'a Facts) -> Result<(&'a [u8], Vec<RefusedLine>), Error> {
    let field = "spec.auth.htpasswd.secretKeyRef";
    let invalid = |problem| Error::secret_invalid(name, key, field, problem);
    let bytes = value(name, key, field, facts)?;
    if bytes.len() > USERS_MAX {
        return Err(invalid("is larger than 900000 bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("is not text"))?;
    let Htpasswd { users, refused } = htpasswd::parse(text);
    if users.is_empty() {
        return Err(invalid(
            "holds no user with a bcrypt hash of a cost from 4 to 16, as `htpasswd -B` writes them",
        ));
    }
    Ok((bytes, refused))
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
