//! The Pods and their ServiceAccount. They meet PodSecurity `restricted`, and a Registry's author cannot change that.

mod volumes;

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

use super::metadata::{owned, some};
use super::ports::{PROBES_PORT, REGISTRY_PORT};
use crate::issue::Issued;
use crate::names::hex;
use crate::pod_layout::{
    CONFIG_FILE, CONFIG_FOLDER, GRACE_BEYOND_DRAIN_SECONDS, PROBE_PORT, READINESS_FAILURES,
    READINESS_PERIOD_SECONDS, SERVER_PORT,
};
use crate::secret_data::HTTP_SECRET_KEY;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::{HttpSecret, Workload};

/// User and group of the server's process. The image's own user is root.
const USER: i64 = 65532;
/// Annotation that changes with each input the server does not read again by itself, so that the Pods are replaced
/// once.
const CHECKSUM_ANNOTATION: &str = "berth.dev/inputs";

/// The ServiceAccount of the Pods. No token is mounted.
pub(super) fn service_account(registry: &ValidatedRegistry) -> ServiceAccount {
    let mut metadata = owned(registry, registry.names.service_account());
    let annotations = &registry.service_account_annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..Default::default()
    }
}

/// The Deployment's template for Pods.
pub(super) fn template(
    registry: &ValidatedRegistry,
    workload: &Workload,
    issued: &Issued,
) -> PodTemplateSpec {
    let pod = &workload.pod;
    let mut all_labels = pod.labels.clone();
    let wanted = workload.supplies.labels.iter();
    all_labels.extend(wanted.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    all_labels.extend(registry.names.labels());
    let mut annotations = pod.annotations.clone();
    annotations.insert(CHECKSUM_ANNOTATION.to_owned(), checksum(workload, issued));
    let grace = workload.drain_timeout.as_secs() + GRACE_BEYOND_DRAIN_SECONDS;
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
                workload
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
            containers: vec![container(registry, workload)],
            volumes: Some(volumes::volumes(registry, workload)),
            ..Default::default()
        }),
    }
}

fn container(registry: &ValidatedRegistry, workload: &Workload) -> Container {
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    };
    Container {
        name: "registry".to_owned(),
        image: Some(workload.image.clone()),
        image_pull_policy: Some(workload.pull_policy.as_str().to_owned()),
        args: Some(vec!["serve".to_owned(), format!("{CONFIG_FOLDER}/{CONFIG_FILE}")]),
        env: Some(environment(registry, workload)),
        ports: Some(vec![
            port(REGISTRY_PORT, SERVER_PORT),
            port(PROBES_PORT, PROBE_PORT),
        ]),
        // A server that has to read a large folder may take five minutes to start. Afterwards ten seconds are long.
        startup_probe: Some(probe("/livez", 2, 150)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        // The drain delay depends on how soon these fail.
        readiness_probe: Some(probe("/readyz", READINESS_PERIOD_SECONDS, READINESS_FAILURES)),
        resources: Some(workload.pod.resources.clone().unwrap_or_else(modest_requests)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..Default::default()
        }),
        volume_mounts: Some(volumes::mounts(workload)),
        // The last lines of the server's log are then in the Pod's status, where `observe` finds the error.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Default::default()
    }
}

/// A probe over plain HTTP on a port of its own: with TLS or authentication a healthy Pod could look unhealthy.
fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PROBES_PORT.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..Default::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(5),
        ..Default::default()
    }
}

/// Requests without limits: a memory limit kills pushes, a CPU limit slows them. The spec can set limits.
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

fn environment(registry: &ValidatedRegistry, workload: &Workload) -> Vec<EnvVar> {
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
    let current = match &workload.http_secret {
        HttpSecret::Generated => SecretKeyRef {
            name: registry.names.http_secret(),
            key: HTTP_SECRET_KEY.to_owned(),
        },
        HttpSecret::Provided(reference) => reference.clone(),
    };
    let mut variables = vec![from_secret("REGISTRY_HTTP_SECRET".to_owned(), &current)];
    for (at, reference) in workload.previous_http_secrets.iter().enumerate() {
        variables.push(from_secret(
            format!("REGISTRY_HTTP_PREVIOUSSECRETS_{at}"),
            reference,
        ));
    }
    let supplies = &workload.supplies;
    for (variable, reference) in &supplies.secret_variables {
        variables.push(from_secret((*variable).to_owned(), reference));
    }
    // The author's variables win over those that a cloud's client libraries read. A name may occur only once.
    let free = |name: &str| workload.pod.env.iter().all(|variable| variable.name != name);
    for (variable, value) in supplies.variables.iter().filter(|(name, _)| free(name)) {
        variables.push(EnvVar {
            name: (*variable).to_owned(),
            value: Some(value.clone()),
            value_from: None,
        });
    }
    for variable in &workload.pod.env {
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

/// A checksum of the inputs, keyed with the HTTP secret: people who may not read Secrets can read the annotation, and
/// could try passwords against a plain hash.
fn checksum(workload: &Workload, issued: &Issued) -> String {
    let generated = issued.http_secret.as_deref().unwrap_or_default();
    let mut key = generated.as_bytes().to_vec();
    workload
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
    add(workload.config.yaml.as_bytes());
    for (name, bytes) in &workload.inputs.0 {
        add(name.as_bytes());
        add(bytes);
    }
    hex(&mac.finalize().into_bytes()[..16])
}
