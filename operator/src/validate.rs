//! Second step: is this a Registry that can be brought up, and what exactly is asked for?
//!
//! Guarantees: pure; a [`ValidatedRegistry`] names only Secrets and ConfigMaps that exist and hold what they must, so
//! that no Pod is started that could not run; nothing of a Secret is in an error. What the API server's own rules
//! refuse is not checked again. Must not: talk to the API server or make anything up that is random.
//! Start at [`registry`].

pub(crate) mod config;
mod error;
pub(crate) mod ownership;
mod plan;
mod secrets;
pub(crate) mod services;
mod storage;

use std::collections::BTreeMap;
use std::time::Duration;

use operator_api::{Ingress, IngressTlsMode, Log, Mode, Pod, PullPolicy, Registry, SecretKeyRef, Service};

pub use config::ConfigFile;
pub use error::Error;
pub use services::{Source, Supplies};
pub use storage::{Backend, MadeClaim, ObjectStore};

use crate::Settings;
use crate::issue::Plan;
use crate::names::Names;
use crate::read::Facts;

/// Address the server listens on inside its Pod.
pub(crate) const SERVER_PORT: i32 = 5000;
/// Address of the probes inside the Pod; no Service leads there.
pub(crate) const PROBE_PORT: i32 = 5001;
/// Drain timeout where the Registry names none.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// An HTTP secret shorter than this can be guessed.
pub(crate) const HTTP_SECRET_MIN: usize = 16;

/// A Registry that can be brought up, with every default filled in.
#[derive(Clone, Debug)]
pub struct ValidatedRegistry {
    /// Name of the Registry.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID, for owner references.
    pub uid: String,
    /// The generation this is about.
    pub generation: Option<i64>,
    /// What its objects are called.
    pub names: Names,
    /// Image of the server.
    pub image: String,
    /// When the kubelet pulls it.
    pub pull_policy: PullPolicy,
    /// Secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// Replicas to run, which may be fewer than asked for; then a note says why.
    pub replicas: i32,
    /// Where the content is.
    pub storage: Backend,
    /// The server's certificate; `None` for plain HTTP.
    pub tls: Option<ServerTls>,
    /// The server's `config.yml`.
    pub config: ConfigFile,
    /// The Secret and key with the users.
    pub htpasswd: Option<SecretKeyRef>,
    /// The secret that signs upload states.
    pub http_secret: HttpSecret,
    /// Secrets that were used before.
    pub previous_http_secrets: Vec<SecretKeyRef>,
    /// How long running requests may go on when a Pod is stopped.
    pub drain_timeout: Duration,
    /// The Service.
    pub service: Service,
    /// The Ingress.
    pub ingress: Option<ValidatedIngress>,
    /// The address people use where it cannot be derived.
    pub public_url: Option<String>,
    /// Settings of the Pods.
    pub pod: Pod,
    /// What the Pods are given so that they may use the object store and the cache.
    pub supplies: Supplies,
    /// What the Pods read but do not follow by themselves, by a name for it: when one changes they are replaced once.
    pub inputs: Inputs,
    /// Certificates to publish beside the Registry's own CA.
    pub provided_ca: Option<String>,
    /// What has to be generated.
    pub plan: Plan,
    /// What a person should know although the registry works, each a sentence.
    pub notes: Vec<String>,
}

/// Contents of Secrets and ConfigMaps, by a name for each.
#[derive(Clone, Default)]
pub struct Inputs(pub BTreeMap<String, Vec<u8>>);

/// Deliberately without contents.
impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The server's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerTls {
    /// Made by the operator.
    Issued,
    /// In a Secret of the user's.
    Provided {
        /// The Secret.
        secret: String,
        /// When the certificate ends.
        not_after: jiff::Timestamp,
        /// The name by which an Ingress may verify the server, when it can be verified.
        verify_as: Option<String>,
    },
}

/// The secret that signs upload states.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HttpSecret {
    /// Made by the operator.
    Generated,
    /// In a Secret of the user's.
    Provided(SecretKeyRef),
}

/// An Ingress, with its defaults filled in.
#[derive(Clone, Debug)]
pub struct ValidatedIngress {
    /// What was written.
    pub spec: Ingress,
    /// Where TLS ends.
    pub mode: IngressTlsMode,
    /// The Secret with its certificate; `None` with Passthrough.
    pub certificate: Option<String>,
}

/// Checks `registry` against the `facts`.
///
/// # Errors
/// The first thing that keeps it from running; the text names it.
pub fn registry(
    registry: &Registry,
    namespace: &str,
    facts: &Facts,
    settings: &Settings,
) -> Result<ValidatedRegistry, Error> {
    let spec = &registry.spec;
    let name = registry.metadata.name.clone().unwrap_or_default();
    let uid = registry.metadata.uid.clone().unwrap_or_default();
    let names = Names::of(&name);
    ownership::check(&facts.found, spec, &names, &name, &uid)?;
    let mut notes = Vec::new();

    let storage = storage::backend(registry, &names, facts, &mut notes)?;
    let replicas = storage::replicas(spec.replicas, &storage, &mut notes);
    let mut provided = secrets::Provided::check(spec, facts, &mut notes)?;
    let services = services::Services::check(spec, facts)?;
    let tls = secrets::server_tls(spec, facts, &names, namespace, &mut notes)?;
    let ingress = ingress(spec.ingress.as_ref(), tls.is_some(), &names, facts)?;
    if let (
        Some(ServerTls::Provided {
            secret,
            verify_as: None,
            ..
        }),
        Some(ingress),
    ) = (&tls, &ingress)
        && ingress.mode == IngressTlsMode::Reencrypt
    {
        let why = if provided.ca.is_some() {
            format!(
                "it names neither `{}.{namespace}.svc` nor a host of the Ingress; have one issued for Secret `{secret}` that does",
                names.service()
            )
        } else {
            format!("Secret `{secret}` has no `ca.crt`")
        };
        notes.push(format!(
            "The Ingress does not verify the server's certificate, because {why}"
        ));
    }
    let plan = plan::plan(
        spec,
        &name,
        namespace,
        &names,
        tls.as_ref(),
        ingress.as_ref(),
        provided.http_secret,
    );
    plan::check_existing(&plan, facts, &names)?;
    let config = config::file(
        registry,
        &config::Server::of(spec, &storage, tls.as_ref(), &services),
        facts,
        &mut notes,
    )?;
    provided.inputs.extend(services.inputs);

    let http = spec.http.clone().unwrap_or_default();
    Ok(ValidatedRegistry {
        image: image(registry, settings),
        pull_policy: spec
            .image
            .as_ref()
            .and_then(|image| image.pull_policy)
            .unwrap_or(PullPolicy::IfNotPresent),
        pull_secrets: spec
            .image
            .iter()
            .flat_map(|image| &image.pull_secrets)
            .map(|s| s.name.clone())
            .collect(),
        replicas,
        storage,
        config,
        htpasswd: spec.auth.htpasswd.as_ref().map(|htpasswd| SecretKeyRef {
            name: htpasswd.secret_key_ref.name.clone(),
            key: htpasswd.secret_key_ref.key.clone(),
        }),
        http_secret: http
            .secret_key_ref
            .map_or(HttpSecret::Generated, HttpSecret::Provided),
        previous_http_secrets: http.previous_secret_key_refs,
        drain_timeout: drain_timeout(spec),
        service: spec.service.clone().unwrap_or_default(),
        ingress,
        public_url: spec
            .public_url
            .as_ref()
            .map(|url| url.trim_end_matches('/').to_owned()),
        pod: spec.pod.clone().unwrap_or_default(),
        supplies: services.supplies,
        inputs: Inputs(provided.inputs),
        provided_ca: provided.ca,
        plan,
        notes,
        tls,
        generation: registry.metadata.generation,
        namespace: namespace.to_owned(),
        name,
        uid,
        names,
    })
}

fn image(registry: &Registry, settings: &Settings) -> String {
    let Some(image) = &registry.spec.image else {
        return settings.registry_image.clone();
    };
    let (default, suffix) = split_image(&settings.registry_image);
    let repository = image.repository.as_deref().unwrap_or(default);
    match (&image.digest, &image.tag) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => format!("{repository}{suffix}"),
    }
}

/// Repository, and the tag or digest with its sign; a colon before the last slash belongs to a port.
fn split_image(image: &str) -> (&str, String) {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(format!("@{digest}"))),
        None => (image, None),
    };
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, crate::VERSION),
    };
    (repository, digest.unwrap_or_else(|| format!(":{tag}")))
}

fn drain_timeout(spec: &operator_api::RegistrySpec) -> Duration {
    spec.http
        .as_ref()
        .and_then(|http| http.drain_timeout)
        .map_or(DRAIN_TIMEOUT, Duration::from)
}

fn ingress(
    spec: Option<&Ingress>,
    server_has_tls: bool,
    names: &Names,
    facts: &Facts,
) -> Result<Option<ValidatedIngress>, Error> {
    let Some(spec) = spec else { return Ok(None) };
    let tls = spec.tls.clone().unwrap_or_default();
    let default = if server_has_tls {
        IngressTlsMode::Reencrypt
    } else {
        IngressTlsMode::Edge
    };
    let mode = tls.mode.unwrap_or(default);
    let certificate = match (mode, tls.secret_name) {
        (IngressTlsMode::Passthrough, _) => None,
        (IngressTlsMode::Edge | IngressTlsMode::Reencrypt, Some(name)) => {
            secrets::tls_secret(&name, "spec.ingress.tls.secretName", facts)?;
            Some(name)
        }
        (IngressTlsMode::Edge | IngressTlsMode::Reencrypt, None) => Some(names.edge_certificate()),
    };
    Ok(Some(ValidatedIngress {
        spec: spec.clone(),
        mode,
        certificate,
    }))
}

impl ValidatedRegistry {
    /// Name of the Secret with the server's certificate.
    pub fn tls_secret(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| match tls {
            ServerTls::Issued => self.names.server_certificate(),
            ServerTls::Provided { secret, .. } => secret.clone(),
        })
    }

    /// Address of the Service inside the cluster.
    pub fn service_url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!(
            "{scheme}://{}.{}.svc:{}",
            self.names.service(),
            self.namespace,
            self.service.port
        )
    }
}

/// Whether the server refuses every change.
fn read_only(spec: &operator_api::RegistrySpec) -> bool {
    let nobody_may_push = spec
        .auth
        .anonymous
        .as_ref()
        .is_some_and(|a| a.access == operator_api::AnonymousAccess::Pull);
    spec.mode == Mode::ReadOnly || nobody_may_push
}

fn log(spec: &operator_api::RegistrySpec) -> Log {
    spec.log.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests;
