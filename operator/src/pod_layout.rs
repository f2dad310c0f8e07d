//! Ports, folders and files inside the server's Pods: `validate` writes them into `config.yml`, `build` into the Pods.

use k8s_openapi::api::apps::v1::Deployment;

/// Name of the server's container.
pub(crate) const CONTAINER: &str = "registry";
/// Header of every answer, by which the operator tells this Registry's servers from others.
pub(crate) const IDENTITY_HEADER: &str = "Berth-Registry-Id";
/// Port on which the server listens.
pub(crate) const SERVER_PORT: u16 = 5000;
/// Port of the probes. No Service leads there.
pub(crate) const PROBE_PORT: u16 = 5001;
/// Folder with the registry's content.
pub(crate) const DATA_FOLDER: &str = "/var/lib/registry";
/// Folder with `config.yml`.
pub(crate) const CONFIG_FOLDER: &str = "/etc/berth/config";
/// Name of the configuration file.
pub(crate) const CONFIG_FILE: &str = "config.yml";
/// Folder with the server's certificate and its key.
pub(crate) const TLS_FOLDER: &str = "/etc/berth/tls";
/// Folder with the file of users.
pub(crate) const HTPASSWD_FOLDER: &str = "/etc/berth/htpasswd";
/// Name of the file of users.
pub(crate) const HTPASSWD_FILE: &str = "htpasswd";
/// Folder with keys, certificates and tokens for the services behind the server.
pub(crate) const CREDENTIALS_FOLDER: &str = "/etc/berth/credentials";
/// Name of the file with a token of the Pods' ServiceAccount.
pub(crate) const TOKEN_FILE: &str = "token";

/// Seconds between two readiness probes.
pub(crate) const READINESS_PERIOD_SECONDS: i32 = 2;
/// Failed readiness probes after which the Pod counts as unready.
pub(crate) const READINESS_FAILURES: i32 = 2;
/// Seconds for which a Pod that is told to stop goes on serving new requests while others take over. Ingress
/// controllers follow readiness: [`READINESS_FAILURES`] probes must fail, and the change has to reach every proxy.
pub(crate) const DRAIN_DELAY_SECONDS: u32 = 8;
/// Seconds between the end of the drain and the kill: [`DRAIN_DELAY_SECONDS`], and some for the server to exit.
pub(crate) const GRACE_BEYOND_DRAIN_SECONDS: u64 = 15;

/// Variable with the secret that signs upload states.
pub(crate) const HTTP_SECRET_VARIABLE: &str = "REGISTRY_HTTP_SECRET";
/// Variables with earlier secrets, each followed by its number.
pub(crate) const PREVIOUS_SECRETS_VARIABLE: &str = "REGISTRY_HTTP_PREVIOUSSECRETS_";
/// Volume with the server's certificate.
pub(crate) const TLS_VOLUME: &str = "tls";
/// Volume with the file of users.
pub(crate) const HTPASSWD_VOLUME: &str = "htpasswd";
/// Annotation of Pods that answer plain HTTP and TLS on one port while a Registry moves from one to the other.
pub(crate) const BOTH_ANNOTATION: &str = "berth.dev/plain-http-and-tls";
/// Annotation of the Service: since when it, and the Ingress, lead to the other one during such a move.
pub(crate) const OVERLAP_SINCE_ANNOTATION: &str = "berth.dev/tls-overlap-since";

/// Whether the Pods of the newest template answer plain HTTP and TLS.
pub(crate) fn answers_both(deployment: &Deployment) -> bool {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let annotations = template.and_then(|template| template.metadata.as_ref()?.annotations.as_ref());
    annotations.is_some_and(|all| all.contains_key(BOTH_ANNOTATION))
}
