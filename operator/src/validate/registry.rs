//! The result of validation: what `issue`, `build`, `probe` and `report` work on.
//!
//! Guarantees: parts that are `None` are wrong, and a problem says why; the other parts can be used whatever the
//! problems are, so independent work goes on. Must not: decide anything. Start at [`ValidatedRegistry`].

use std::collections::BTreeMap;
use std::time::Duration;

use operator_api::{
    Autoscaling, HttpRoute, Ingress, IngressTlsMode, Metrics, NetworkPolicy, Pod, PullPolicy, RegistrySpec,
    Service, TlsRoute,
};

use super::backend::Backend;
use crate::certificate::key_pair;
use crate::issue_plan::IssuePlan;
use crate::names::Names;
use crate::secret_data::{TLS_CERTIFICATE, TLS_KEY};
use crate::subject::Subject;
use crate::verify_plan::VerifyPlan;

/// A Registry with every default filled in.
#[derive(Clone, Debug)]
pub struct ValidatedRegistry {
    /// Which Registry it is.
    pub subject: Subject,
    /// Names of its children.
    pub names: Names,
    /// Whether nothing may be changed.
    pub paused: bool,
    /// Whether clients speak TLS to the server.
    pub scheme: Scheme,
    /// The move between plain HTTP and TLS, while there is one.
    pub overlap: Option<Overlap>,
    /// The Service.
    pub service: Service,
    /// The server's metrics, where they are asked for.
    pub metrics: Option<Metrics>,
    /// The route of the Gateway API, where one is asked for.
    pub http_route: Option<HttpRoute>,
    /// The route of the Gateway API that leads TLS through, where one is asked for.
    pub tls_route: Option<TlsRoute>,
    /// The NetworkPolicy, where one is asked for.
    pub network_policy: Option<NetworkPolicy>,
    /// Annotations of the Pods' ServiceAccount.
    pub service_account_annotations: BTreeMap<String, String>,
    /// The address that clients use, where it cannot be derived.
    pub public_url: Option<String>,
    /// Secrets to issue.
    pub issue: IssuePlan,
    /// Generated secrets that exist but cannot be used. They stay as they are, and so does what depends on them.
    pub unusable: Unusable,
    /// The CA of a certificate that the user provides. It is published beside the Registry's own CA.
    pub provided_ca: Option<String>,
    /// The server's certificate.
    pub tls: Option<ServerTls>,
    /// The users and a provided certificate, which the server reads again while it runs.
    pub live: LiveFiles,
    /// The storage of the content.
    pub storage: Option<Backend>,
    /// The Ingress.
    pub ingress: IngressPart,
    /// The Pods and their configuration.
    pub workload: Option<Workload>,
    /// Sentences about what a person should know although the registry works.
    pub notes: Vec<String>,
    /// The verification by a push and a pull.
    pub verify: VerifyPlan,
    /// Whether another Registry claims one of its hosts.
    pub shares_a_host: bool,
}

/// A move between plain HTTP and TLS: the Pods answer both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overlap {
    /// The scheme that the Service and the Ingress lead to.
    pub published: Scheme,
    /// When they changed; `None` when they have not.
    pub since: Option<jiff::Timestamp>,
    /// When every proxy has followed.
    pub ends: Option<jiff::Timestamp>,
}

/// The protocol that the server speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The protocol that the spec asks for.
    pub(super) fn of(spec: &RegistrySpec) -> Self {
        match &spec.tls {
            Some(tls) if tls.disabled.is_some() => Self::Http,
            _ => Self::Https,
        }
    }

    /// The scheme of a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Generated secrets that somebody changed, that could not be read, or whose names somebody else's objects have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unusable {
    /// The CA: nothing can be signed.
    pub ca: bool,
    /// The HTTP secret.
    pub http_secret: bool,
    /// The server's certificate.
    pub server: bool,
    /// The Ingress's certificate.
    pub edge: bool,
}

/// Everything from which the Deployment and `config.yml` are built.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Image of the server.
    pub image: String,
    /// When the kubelet pulls it.
    pub pull_policy: PullPolicy,
    /// Secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// Replicas to run. When they are fewer than asked for, a note says why.
    pub replicas: Replicas,
    /// The storage of the content.
    pub storage: Backend,
    /// The server's certificate.
    pub tls: ServerTls,
    /// The server's `config.yml`.
    pub config: ConfigFile,
    /// Whether the server answers plain HTTP and TLS.
    pub both: bool,
    /// Whether users have passwords.
    pub htpasswd: bool,
    /// Number of secrets that signed upload states before.
    pub previous_http_secrets: usize,
    /// How long running requests may go on when a Pod is stopped.
    pub drain_timeout: Duration,
    /// Settings of the Pods.
    pub pod: Pod,
    /// Volumes of the Pods that the author asks for.
    pub volumes: Vec<PodVolume>,
    /// Variables and files for the object store and the cache.
    pub supplies: Supplies,
    /// Inputs that the server does not read again by itself.
    pub inputs: Inputs,
}

/// The number of Pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Replicas {
    /// As the spec says.
    Fixed(i32),
    /// By load: the HorizontalPodAutoscaler sets them.
    Scaled {
        /// Its limits.
        autoscaling: Autoscaling,
        /// Whether there are Pods. An autoscaler leaves a Deployment without replicas alone.
        started: bool,
    },
}

impl Replicas {
    /// The number that the Deployment is applied with; `None` leaves it to the autoscaler.
    pub fn asked(&self) -> Option<i32> {
        match self {
            Self::Fixed(replicas) => Some(*replicas),
            Self::Scaled { started: true, .. } => None,
            Self::Scaled { autoscaling, .. } => Some(autoscaling.min_replicas),
        }
    }

    /// The smallest number.
    pub fn least(&self) -> i32 {
        match self {
            Self::Fixed(replicas) => *replicas,
            Self::Scaled { autoscaling, .. } => autoscaling.min_replicas,
        }
    }

    /// The largest number.
    pub fn most(&self) -> i32 {
        match self {
            Self::Fixed(replicas) => *replicas,
            Self::Scaled { autoscaling, .. } => autoscaling.max_replicas,
        }
    }
}

/// A volume that the author asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodVolume {
    /// Its name.
    pub name: String,
    /// The path where it is mounted.
    pub mount_path: String,
    /// The source of its files.
    pub source: VolumeSource,
}

/// The source of a volume's files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VolumeSource {
    /// Keys of the inputs, each with the name of its file.
    Inputs(Vec<(String, String)>),
    /// A Secret of the author's that is too large to copy.
    Secret(String),
    /// A ConfigMap of the author's that is too large to copy.
    ConfigMap(String),
}

/// The part of the live Secret that does not have to be issued.
#[derive(Clone, Default)]
pub struct LiveFiles {
    /// Files that stay: the last good content of a part that is wrong, and what Pods of an earlier rollout may still read.
    pub kept: BTreeMap<String, Vec<u8>>,
    /// The users.
    pub users: Option<Vec<u8>>,
    /// A certificate of the author's, and its key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl LiveFiles {
    /// Whether a certificate stays with which a server can serve.
    pub(super) fn has_certificate(&self) -> bool {
        let pair = self.kept.get(TLS_CERTIFICATE).zip(self.kept.get(TLS_KEY));
        pair.is_some_and(|(certificate, key)| key_pair(certificate, key).is_ok())
    }
}

/// Deliberately without contents.
impl std::fmt::Debug for LiveFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveFiles").finish_non_exhaustive()
    }
}

/// Contents of Secrets and ConfigMaps, by their keys in the Secret with the inputs. When one changes the Pods are
/// replaced once.
#[derive(Clone, Default)]
pub struct Inputs(pub BTreeMap<String, Vec<u8>>);

/// Deliberately without contents.
impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The server's `config.yml`.
#[derive(Clone, Eq, PartialEq)]
pub struct ConfigFile {
    /// Its text, YAML.
    pub yaml: String,
    /// The kind of object that holds it.
    pub home: ConfigHome,
}

/// The kind of object that holds `config.yml`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConfigHome {
    /// No value in it is secret.
    ConfigMap,
    /// Values in it come from Secrets.
    Secret,
}

/// Deliberately without contents, which may be secret.
impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConfigFile({} bytes)", self.yaml.len())
    }
}

/// The server's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerTls {
    /// None: the server speaks plain HTTP.
    Disabled,
    /// Made by the operator.
    Issued,
    /// In a Secret of the user's.
    Provided {
        /// Name of the Secret.
        secret: String,
        /// When the certificate expires.
        not_after: jiff::Timestamp,
        /// The name for which an Ingress verifies the certificate; `None` when it cannot be verified.
        verify_as: Option<String>,
    },
}

/// The part of a Registry about its Ingress.
#[derive(Clone, Debug)]
pub enum IngressPart {
    /// No Ingress is asked for.
    NotWanted,
    /// The Ingress is wrong; a problem says why.
    Wrong,
    /// The Ingress is right.
    Right(ValidatedIngress),
}

impl IngressPart {
    /// The Ingress, when one is asked for and right.
    pub fn right(&self) -> Option<&ValidatedIngress> {
        match self {
            Self::NotWanted | Self::Wrong => None,
            Self::Right(ingress) => Some(ingress),
        }
    }
}

/// An Ingress with its defaults filled in.
#[derive(Clone, Debug)]
pub struct ValidatedIngress {
    /// The Ingress as the spec has it.
    pub spec: Ingress,
    /// The place where TLS ends.
    pub mode: IngressTlsMode,
    /// The Secret with its certificate; `None` with Passthrough.
    pub certificate: Option<String>,
}

/// Variables and files of the Pods in addition to `config.yml`. Their contents are in [`Inputs`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Supplies {
    /// Environment variables whose values are inputs.
    pub secret_variables: Vec<&'static str>,
    /// Environment variables with plain values.
    pub variables: Vec<(&'static str, String)>,
    /// Files, by name.
    pub files: Vec<(&'static str, FileSource)>,
    /// Labels that a cloud's webhook looks for.
    pub labels: Vec<(&'static str, &'static str)>,
    /// Whether the Pods' identity follows from their ServiceAccount, at which a cloud's webhook looks only when a Pod is
    /// created.
    pub identity_of_service_account: bool,
}

/// The source of a Pod's file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileSource {
    /// An input.
    Input,
    /// A token of the Pods' ServiceAccount, which the kubelet renews.
    Token {
        /// The service that accepts the token.
        audience: String,
    },
}

impl Workload {
    /// Whether the Pods read a certificate.
    pub fn has_certificate(&self) -> bool {
        self.both || self.tls != ServerTls::Disabled
    }
}

impl ValidatedRegistry {
    /// Host name of the Service inside the cluster.
    pub fn service_host(&self) -> String {
        self.names.service_host(&self.subject.namespace)
    }

    /// Address of the Service inside the cluster.
    pub fn service_url(&self) -> String {
        format!(
            "{}://{}:{}",
            self.scheme.as_str(),
            self.service_host(),
            self.service.port
        )
    }
}
