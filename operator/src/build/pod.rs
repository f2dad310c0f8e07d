//! The Pods: PodSecurity `restricted`, and nothing of it can be changed by a Registry's author.

mod volumes;

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapKeySelector, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SeccompProfile, SecretKeySelector, SecurityContext, ServiceAccount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use operator_api::SecretKeyRef;
use sha2::Sha256;

use super::labels::{labels, owned};
use crate::issue::{HTTP_SECRET_KEY, Issued};
use crate::names::hex;
use crate::validate::config::{CONFIG_FILE, CONFIG_FOLDER};
use crate::validate::{HttpSecret, PROBE_PORT, SERVER_PORT, ValidatedRegistry};

/// Name of the server's port, which the Service leads to.
pub(super) const SERVER_PORT_NAME: &str = "registry";
const PROBE_PORT_NAME: &str = "probes";
/// User and group the server runs as; the image's own is root.
const USER: i64 = 65532;
/// Time between a stop and the kill beyond the drain: [`crate::validate::config::TAKE_OVER`], and some to end in.
const GRACE_BEYOND_DRAIN_SECONDS: u64 = 15;
/// Changes when something changes that the server does not follow by itself; the Pods are then replaced once.
const CHECKSUM_ANNOTATION: &str = "berth.dev/inputs";

pub(super) fn service_account(registry: &ValidatedRegistry) -> ServiceAccount {
    let mut metadata = owned(registry, registry.names.service_account());
    let annotations = &registry.pod.service_account_annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..Default::default()
    }
}

pub(super) fn template(registry: &ValidatedRegistry, issued: &Issued) -> PodTemplateSpec {
    let pod = &registry.pod;
    let mut all_labels = pod.labels.clone();
    let wanted = registry.supplies.labels.iter();
    all_labels.extend(wanted.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    all_labels.extend(labels(registry));
    let mut annotations = pod.annotations.clone();
    annotations.insert(CHECKSUM_ANNOTATION.to_owned(), checksum(registry, issued));
    let grace = registry.drain_timeout.as_secs() + GRACE_BEYOND_DRAIN_SECONDS;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations: Some(annotations),
            ..Default::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(registry.names.service_account()),
            automount_service_account_token: Some(false),
            // A Service called `registry` would put REGISTRY_* variables into the Pod, which are configuration.
            enable_service_links: Some(false),
            termination_grace_period_seconds: i64::try_from(grace).ok(),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                // Changing the owner of millions of files at every start would take hours.
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..Default::default()
            }),
            image_pull_secrets: some(
                registry
                    .pull_secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            ),
            node_selector: (!pod.node_selector.is_empty()).then(|| pod.node_selector.clone()),
            tolerations: some(pod.tolerations.clone()),
            affinity: pod.affinity.clone(),
            topology_spread_constraints: some(pod.topology_spread_constraints.clone()),
            priority_class_name: pod.priority_class_name.clone(),
            containers: vec![container(registry)],
            volumes: Some(volumes::volumes(registry)),
            ..Default::default()
        }),
    }
}

fn container(registry: &ValidatedRegistry) -> Container {
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    };
    Container {
        name: "registry".to_owned(),
        image: Some(registry.image.clone()),
        image_pull_policy: Some(registry.pull_policy.as_str().to_owned()),
        args: Some(vec!["serve".to_owned(), format!("{CONFIG_FOLDER}/{CONFIG_FILE}")]),
        env: Some(environment(registry)),
        ports: Some(vec![
            port(SERVER_PORT_NAME, SERVER_PORT),
            port(PROBE_PORT_NAME, PROBE_PORT),
        ]),
        // A start that has to read a large folder gets five minutes; after that ten seconds are long.
        startup_probe: Some(probe("/livez", 2, 150)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        // How soon it is heard that a Pod is to end hangs on it, and so does `TAKE_OVER`.
        readiness_probe: Some(probe("/readyz", 2, 2)),
        resources: Some(registry.pod.resources.clone().unwrap_or_else(modest_requests)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..Default::default()
        }),
        volume_mounts: Some(volumes::mounts(registry)),
        // The server's last words are then in the Pod's status, where `observe` finds them.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Default::default()
    }
}

/// Plain HTTP on a port of its own, so that neither TLS nor authentication can make a healthy Pod look ill.
fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PROBE_PORT_NAME.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..Default::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(5),
        ..Default::default()
    }
}

/// No limits: a limit on memory kills pushes, one on processor time stretches them. Who wants them says so.
fn modest_requests() -> ResourceRequirements {
    let requests = [("cpu", "50m"), ("memory", "64Mi")];
    ResourceRequirements {
        requests: Some(
            requests
                .map(|(name, size)| (name.to_owned(), Quantity(size.to_owned())))
                .into(),
        ),
        ..Default::default()
    }
}

fn environment(registry: &ValidatedRegistry) -> Vec<EnvVar> {
    let from_secret = |variable: String, reference: &SecretKeyRef| EnvVar {
        name: variable,
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: reference.name.clone(),
                key: reference.key.clone(),
                optional: None,
            }),
            ..Default::default()
        }),
    };
    let current = match &registry.http_secret {
        HttpSecret::Generated => SecretKeyRef {
            name: registry.names.http_secret(),
            key: HTTP_SECRET_KEY.to_owned(),
        },
        HttpSecret::Provided(reference) => reference.clone(),
    };
    let mut variables = vec![from_secret("REGISTRY_HTTP_SECRET".to_owned(), &current)];
    for (at, reference) in registry.previous_http_secrets.iter().enumerate() {
        variables.push(from_secret(
            format!("REGISTRY_HTTP_PREVIOUSSECRETS_{at}"),
            reference,
        ));
    }
    let supplies = &registry.supplies;
    for (variable, reference) in &supplies.secrets {
        variables.push(from_secret((*variable).to_owned(), reference));
    }
    // Further variables may say otherwise of what a cloud's client libraries read; a name may stand there only once.
    let free = |name: &str| registry.pod.env.iter().all(|variable| variable.name != name);
    for (variable, value) in supplies.variables.iter().filter(|(name, _)| free(name)) {
        variables.push(EnvVar {
            name: (*variable).to_owned(),
            value: Some(value.clone()),
            value_from: None,
        });
    }
    for variable in &registry.pod.env {
        variables.push(EnvVar {
            name: variable.name.clone(),
            value: variable.value.clone(),
            value_from: variable.value_from.as_ref().map(|source| EnvVarSource {
                secret_key_ref: source.secret_key_ref.as_ref().map(|reference| SecretKeySelector {
                    name: reference.name.clone(),
                    key: reference.key.clone(),
                    optional: None,
                }),
                config_map_key_ref: source.config_map_key_ref.as_ref().map(|reference| {
                    ConfigMapKeySelector {
                        name: reference.name.clone(),
                        key: reference.key.clone(),
                        optional: None,
                    }
                }),
                ..Default::default()
            }),
        });
    }
    variables
}

/// Keyed with the HTTP secret: the annotation can be read by people who may not read Secrets, and a plain hash would
/// let them try passwords against it.
fn checksum(registry: &ValidatedRegistry, issued: &Issued) -> String {
    let generated = issued.http_secret.as_deref().unwrap_or_default();
    let mut key = generated.as_bytes().to_vec();
    registry
        .inputs
        .0
        .iter()
        .filter(|(name, _)| name.starts_with("http/"))
        .for_each(|(_, bytes)| key.extend(bytes));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of every length");
    let mut add = |bytes: &[u8]| {
        mac.update(&(bytes.len() as u64).to_le_bytes());
        mac.update(bytes);
    };
    add(registry.config.yaml.as_bytes());
    for (name, bytes) in &registry.inputs.0 {
        add(name.as_bytes());
        add(bytes);
    }
    hex(&mac.finalize().into_bytes()[..16])
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Labels by name, for the scale subresource.
pub(crate) fn selector_text(selector: &BTreeMap<String, String>) -> String {
    selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}
