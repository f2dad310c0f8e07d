//! The sentences of the status: the state, its cause, and the way out.

use jiff::Timestamp;
use operator_api::{Endpoint, EndpointType};

use crate::apply;
use crate::error::{Error, Problems};
use crate::fault::chain;
use crate::findings::{Findings, PodProblem, Rollout, endpoint_reason};
use crate::pod_layout::CONTAINER;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::ServerTls;

/// How many replicas are ready.
pub(super) fn ready_replicas(findings: &Findings) -> String {
    let ready = findings.ready_replicas.min(findings.wanted);
    let wanted = findings.wanted;
    match findings.rollout {
        Rollout::Progressing if ready == wanted => {
            format!("{ready} of {wanted} replicas are ready, and not all have the newest configuration")
        }
        _ => format!("{ready} of {wanted} replicas are ready"),
    }
}

/// A rollout that Kubernetes has given up.
pub(super) fn stuck(registry: &ValidatedRegistry, findings: &Findings) -> String {
    if findings.pod_problem.is_some() {
        return with_cause(ready_replicas(findings), findings);
    }
    format!(
        "{} and Deployment `{}` makes no progress; look at its Pods with `kubectl describe pods -l {}={}`",
        ready_replicas(findings),
        registry.names.deployment(),
        operator_api::REGISTRY_LABEL,
        registry.names.label()
    )
}

/// The server's certificate has expired.
pub(super) fn expired(registry: &ValidatedRegistry, end: Timestamp) -> String {
    match &registry.tls {
        Some(ServerTls::Provided { secret, .. }) => format!(
            "The certificate in Secret `{secret}` of `spec.tls.secret` expired at {end}; put a newer one there"
        ),
        Some(ServerTls::Issued | ServerTls::Disabled) | None => format!(
            "The server's certificate expired at {end} and was not renewed; delete Secret `{}` to have another made",
            registry.names.server_certificate()
        ),
    }
}

/// A claim without a volume, of which nothing more is known.
pub(super) fn unbound(claim: &str, phase: &str) -> String {
    format!(
        "PersistentVolumeClaim `{claim}` is {phase}; see what it waits for with `kubectl describe persistentvolumeclaim {claim}`"
    )
}

/// No volume can be made.
pub(super) fn unprovisioned(claim: &str, problem: &str) -> String {
    format!(
        "No volume is made for PersistentVolumeClaim `{claim}`: {problem}; correct the storage class, or delete the claim \
         and name another in `spec.storage.persistentVolumeClaim.template.storageClassName`"
    )
}

/// An address at which clients do not get this registry, and the way out.
pub(super) fn address(endpoint: &Endpoint) -> String {
    let message = endpoint
        .message
        .clone()
        .unwrap_or_else(|| format!("`{}` does not answer", endpoint.url));
    let way_out = match (endpoint.reason.as_deref(), endpoint.type_) {
        (Some(endpoint_reason::NOT_PUBLISHED), _) => {
            "correct `spec.ingress.className`, or set `spec.probe` to Disabled if the controller publishes none"
        }
        (Some(endpoint_reason::OTHER_REGISTRY), _) => "give each Registry hosts of its own",
        (Some(endpoint_reason::HOST_NOT_COVERED), EndpointType::Ingress) => {
            "correct the certificate of `spec.ingress.tls.secretName`, or remove that field to have one made"
        }
        (Some(endpoint_reason::HOST_NOT_COVERED), _) => "have a certificate issued that names it",
        (Some(endpoint_reason::CERTIFICATE_EXPIRED), _) => "renew the certificate",
        _ => {
            "lead the address to the registry, or set `spec.probe` to Disabled if clients get another answer"
        }
    };
    format!("{message}; {way_out}")
}

/// Adds why a Pod is not ready.
pub(super) fn with_cause(sentence: String, findings: &Findings) -> String {
    match &findings.pod_problem {
        Some(pod_problem) => format!("{sentence}: {}", cause(pod_problem)),
        None => sentence,
    }
}

/// The cause for which a Pod is not ready, and the way out where it is not plain.
pub(super) fn cause(pod_problem: &PodProblem) -> String {
    match pod_problem {
        PodProblem::Refused(message) => format!("the API server refuses the Pods: {message}"),
        PodProblem::Unschedulable { pod, message } => format!("no node takes Pod `{pod}`: {message}"),
        PodProblem::Image { pod, image } => {
            format!(
                "the image `{image}` of Pod `{pod}` cannot be pulled; correct `spec.image` or its pull secrets"
            )
        }
        PodProblem::Crashing {
            message: Some(message),
            container,
            ..
        } => format!(
            "{} is in CrashLoopBackOff: {}",
            named(container),
            with_way_out(message)
        ),
        PodProblem::Crashing {
            pod,
            container,
            exit_code,
            message: None,
        } => {
            let name = named(container);
            let code = exit_code
                .map(|code| format!(" with exit code {code}"))
                .unwrap_or_default();
            format!(
                "{name} is in CrashLoopBackOff{code}; see why with `kubectl logs --previous {pod} -c {container}`"
            )
        }
        PodProblem::Unready { pod, message } => {
            format!("the server in Pod `{pod}` says: {}", with_way_out(message))
        }
        PodProblem::Container {
            pod,
            container,
            reason,
        } => {
            format!(
                "container `{container}` of Pod `{pod}` cannot be made ({reason}); see why with `kubectl describe pod {pod}`"
            )
        }
    }
}

/// A container as the subject of a sentence.
fn named(container: &str) -> String {
    match container {
        CONTAINER => "the server".to_owned(),
        other => format!("container `{other}`"),
    }
}

/// A server's own words, with the way out where the server cannot know it.
fn with_way_out(message: &str) -> String {
    let denied = message.contains("Permission denied") || message.contains("permission denied");
    match denied && !message.contains("s3") {
        true => format!(
            "{message}; the volume's files must belong to the Pod's group (`fsGroup`, which NFS and host paths ignore): \
             give them to it with `chown -R` on the volume"
        ),
        false => message.to_owned(),
    }
}

/// The sentences about problems: each with its cause and the way out.
pub(super) fn failure(problems: &Problems) -> String {
    let sentences = problems.iter().map(|error| {
        let text = match error {
            // "The Registry cannot be brought up" would tell its author nothing new.
            Error::Validate(invalid) => invalid.to_string(),
            Error::Apply(apply::Error::Foreign(foreign)) => foreign.to_string(),
            Error::Apply(_) => in_words_of_the_registry(&chain(error)),
            Error::Read(_) | Error::Issue(_) => chain(error),
        };
        match error.hint() {
            Some(hint) => format!("{}; {hint}", capitalised(&text)),
            None => capitalised(&text),
        }
    });
    sentences.collect::<Vec<_>>().join(". ")
}

/// The fields of a Deployment's Pods, and those of the Registry that they are made from.
const POD_FIELDS: [(&str, &str); 8] = [
    ("spec.template.spec.containers[0].resources", "spec.pod.resources"),
    ("spec.template.spec.containers[0].env", "spec.pod.env"),
    ("spec.template.spec.containers[0].image", "spec.image"),
    ("spec.template.spec.affinity", "spec.pod.affinity"),
    ("spec.template.spec.tolerations", "spec.pod.tolerations"),
    (
        "spec.template.spec.topologySpreadConstraints",
        "spec.pod.topologySpreadConstraints",
    ),
    ("spec.template.spec.nodeSelector", "spec.pod.nodeSelector"),
    (
        "spec.template.spec.priorityClassName",
        "spec.pod.priorityClassName",
    ),
];

/// The API server's words about a child, with the Registry's fields instead of the child's.
fn in_words_of_the_registry(text: &str) -> String {
    let fields = POD_FIELDS.iter();
    fields.fold(text.to_owned(), |text, (child, registry)| {
        text.replace(child, registry)
    })
}

pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
