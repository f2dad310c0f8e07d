//! The Pods: PodSecurity `restricted`, and nothing of it can be changed by a Registry's author.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapKeySelector, ConfigMapVolumeSource, Container, ContainerPort,
    EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecretVolumeSource, SecurityContext,
    ServiceAccount, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use operator_api::{Medium, SecretKeyRef};
use sha2::Sha256;

use super::labels::{labels, owned};
use crate::material::{HTTP_SECRET_KEY, Material};
use crate::names::hex;
use crate::validate::config::{
    CONFIG_FILE, CONFIG_FOLDER, DATA_FOLDER, HTPASSWD_FILE, HTPASSWD_FOLDER, TLS_FOLDER,
};
use crate::validate::{Backend, HttpSecret, PROBE_PORT, SERVER_PORT, ValidatedRegistry};

/// Name of the server's port, which the Service leads to.
pub(super) const SERVER_PORT_NAME: &str = "registry";
const PROBE_PORT_NAME: &str = "probes";
/// User and group the server runs as; the image's own is root.
const USER: i64 = 65532;
/// Time between the end of the drain and the kill.
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

pub(super) fn template(registry: &ValidatedRegistry, material: &Material) -> PodTemplateSpec {
    let pod = &registry.pod;
    let mut all_labels = pod.labels.clone();
    all_labels.extend(labels(registry));
    let mut annotations = pod.annotations.clone();
    annotations.insert(CHECKSUM_ANNOTATION.to_owned(), checksum(registry, material));
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
            volumes: Some(volumes(registry)),
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
        volume_mounts: Some(mounts(registry)),
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

fn volumes(registry: &ValidatedRegistry) -> Vec<Volume> {
    let volume = |name: &str| Volume {
        name: name.to_owned(),
        ..Default::default()
    };
    let secret = |name: &str| SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        ..Default::default()
    };
    let config_map = |name: &str| ConfigMapVolumeSource {
        name: name.to_owned(),
        ..Default::default()
    };
    let config = registry.names.config();
    let mut volumes = vec![
        if registry.config.secret {
            Volume {
                secret: Some(secret(&config)),
                ..volume("config")
            }
        } else {
            Volume {
                config_map: Some(config_map(&config)),
                ..volume("config")
            }
        },
        match &registry.storage {
            Backend::Claim { .. } | Backend::MadeClaim(_) => Volume {
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: registry.storage.claim_name().unwrap_or_default().to_owned(),
                    read_only: None,
                }),
                ..volume("data")
            },
            Backend::EmptyDir(folder) => Volume {
                empty_dir: Some(EmptyDirVolumeSource {
                    size_limit: folder.size_limit.clone().map(Quantity),
                    medium: folder.medium.map(|medium| match medium {
                        Medium::Memory => "Memory".to_owned(),
                    }),
                }),
                ..volume("data")
            },
        },
        Volume {
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..volume("tmp")
        },
    ];
    if let Some(name) = registry.tls_secret() {
        // Only what the server reads: a `ca.crt` or anything else in a provided Secret stays out of the Pod.
        let items = ["tls.crt", "tls.key"].map(|key| KeyToPath {
            key: key.to_owned(),
            path: key.to_owned(),
            mode: None,
        });
        let source = SecretVolumeSource {
            items: Some(items.into()),
            ..secret(&name)
        };
        volumes.push(Volume {
            secret: Some(source),
            ..volume("tls")
        });
    }
    if let Some(reference) = &registry.htpasswd {
        let item = KeyToPath {
            key: reference.key.clone(),
            path: HTPASSWD_FILE.to_owned(),
            mode: None,
        };
        let source = SecretVolumeSource {
            items: Some(vec![item]),
            ..secret(&reference.name)
        };
        volumes.push(Volume {
            secret: Some(source),
            ..volume("htpasswd")
        });
    }
    for wish in &registry.pod.volumes {
        volumes.push(Volume {
            secret: wish.secret.as_ref().map(|reference| secret(&reference.name)),
            config_map: wish
                .config_map
                .as_ref()
                .map(|reference| config_map(&reference.name)),
            ..volume(&wish.name)
        });
    }
    volumes
}

fn mounts(registry: &ValidatedRegistry) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..Default::default()
    };
    let read_only = |name: &str, path: &str| VolumeMount {
        read_only: Some(true),
        ..mount(name, path)
    };
    let mut mounts = vec![
        read_only("config", CONFIG_FOLDER),
        mount("data", DATA_FOLDER),
        mount("tmp", "/tmp"),
    ];
    if registry.tls.is_some() {
        // No subPath: a file mounted by one would never change.
        mounts.push(read_only("tls", TLS_FOLDER));
    }
    if registry.htpasswd.is_some() {
        mounts.push(read_only("htpasswd", HTPASSWD_FOLDER));
    }
    mounts.extend(
        registry
            .pod
            .volumes
            .iter()
            .map(|volume| read_only(&volume.name, &volume.mount_path)),
    );
    mounts
}

/// Keyed with the HTTP secret: the annotation can be read by people who may not read Secrets, and a plain hash would
/// let them try passwords against it.
fn checksum(registry: &ValidatedRegistry, material: &Material) -> String {
    let generated = material.http_secret.as_deref().unwrap_or_default();
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
