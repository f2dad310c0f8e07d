//! The Pods and their ServiceAccount. They meet PodSecurity `restricted`, and a Registry's author cannot change that.

mod volumes;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretKeySelector, SecurityContext, ServiceAccount, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use sha2::{Digest as _, Sha256};

use super::metadata::{owned, some};
use super::ports::{PROBES_PORT, REGISTRY_PORT};
use super::sources::Sources;
use crate::input_keys;
use crate::names::hex;
use crate::pod_layout::{
    BOTH_ANNOTATION, CONFIG_FILE, CONFIG_FOLDER, CONTAINER, GRACE_BEYOND_DRAIN_SECONDS, HTTP_SECRET_VARIABLE,
    PREVIOUS_SECRETS_VARIABLE, PROBE_PORT, READINESS_FAILURES, READINESS_PERIOD_SECONDS, SERVER_PORT,
};
use crate::validate::ValidatedRegistry;
use crate::validate::registry::Workload;

/// User and group of the server's process. The image's own user is root.
const USER: i64 = 65532;
/// Annotation that changes with the annotations of the ServiceAccount, where the Pods' identity follows from them, so that
/// the Pods are replaced once.
const SERVICE_ACCOUNT_ANNOTATION: &str = "berth.dev/service-account";

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

/// The Deployment's template for Pods. It changes with everything that the server reads only when it starts, because the
/// names of `sources` do.
pub(super) fn template(
    registry: &ValidatedRegistry,
    workload: &Workload,
    sources: &Sources,
) -> PodTemplateSpec {
    let pod = &workload.pod;
    let mut all_labels = pod.labels.clone();
    let wanted = workload.supplies.labels.iter();
    all_labels.extend(wanted.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    all_labels.extend(registry.names.labels());
    let mut annotations = pod.annotations.clone();
    if workload.supplies.identity_of_service_account {
        annotations.insert(
            SERVICE_ACCOUNT_ANNOTATION.to_owned(),
            service_account_hash(registry),
        );
    }
    if workload.both {
        annotations.insert(BOTH_ANNOTATION.to_owned(), "true".to_owned());
    }
    let ids = pod.security_context.unwrap_or(operator_api::PodSecurityContext {
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
    });
    let grace = workload.drain_timeout.as_secs() + GRACE_BEYOND_DRAIN_SECONDS;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
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
                run_as_user: ids.run_as_user,
                run_as_group: ids.run_as_group,
                fs_group: ids.fs_group,
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
            topology_spread_constraints: some(spread(registry, workload)),
            priority_class_name: pod.priority_class_name.clone(),
            containers: vec![container(workload, sources)],
            volumes: Some(volumes::volumes(workload, sources)),
            ..Default::default()
        }),
    }
}

/// The rules of the spec; several Pods are otherwise spread over nodes and zones, where that is possible.
fn spread(registry: &ValidatedRegistry, workload: &Workload) -> Vec<TopologySpreadConstraint> {
    let own = &workload.pod.topology_spread_constraints;
    if !own.is_empty() || workload.replicas.most() < 2 {
        return own.clone();
    }
    let constraint = |topology_key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(registry.names.selector()),
            ..Default::default()
        }),
        // Pods of an older template are about to go and do not count.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..Default::default()
    };
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .map(constraint)
        .into()
}

fn container(workload: &Workload, sources: &Sources) -> Container {
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(workload.image.clone()),
        image_pull_policy: Some(workload.pull_policy.as_str().to_owned()),
        args: Some(vec!["serve".to_owned(), format!("{CONFIG_FOLDER}/{CONFIG_FILE}")]),
        env: Some(environment(workload, &sources.inputs)),
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

/// The variables of the server. `inputs` is the name of the Secret with the inputs.
fn environment(workload: &Workload, inputs: &str) -> Vec<EnvVar> {
    let from_input = |variable: &str| EnvVar {
        name: variable.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: inputs.to_owned(),
                key: input_keys::variable(variable),
                optional: None,
            }),
            ..Default::default()
        }),
    };
    let mut variables = vec![from_input(HTTP_SECRET_VARIABLE)];
    let previous = 0..workload.previous_http_secrets;
    variables.extend(previous.map(|at| from_input(&format!("{PREVIOUS_SECRETS_VARIABLE}{at}"))));
    let supplies = &workload.supplies;
    variables.extend(
        supplies
            .secret_variables
            .iter()
            .map(|variable| from_input(variable)),
    );
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
        variables.push(match &variable.value_from {
            Some(_) => from_input(&variable.name),
            None => EnvVar {
                name: variable.name.clone(),
                value: variable.value.clone(),
                value_from: None,
            },
        });
    }
    variables
}

/// A hash of the ServiceAccount's annotations.
fn service_account_hash(registry: &ValidatedRegistry) -> String {
    let annotations = &registry.service_account_annotations;
    let text = annotations
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect::<String>();
    hex(&Sha256::digest(text.as_bytes())[..16])
}
