//! The sentences of the status: the state, its cause, and the way out.

use super::reason as why;
use crate::apply;
use crate::error::{Error, Problems};
use crate::fault::chain;
use crate::findings::{Findings, PodProblem, Rollout};
use crate::validate::ValidatedRegistry;

/// Reason and sentence when everything was applied.
pub(super) fn progress(registry: &ValidatedRegistry, findings: &Findings) -> (&'static str, String) {
    let (reason, sentence) = state(registry, findings);
    let notes = registry
        .notes
        .iter()
        .map(|note| format!(". {note}"))
        .collect::<String>();
    (reason, format!("{sentence}{notes}"))
}

fn state(registry: &ValidatedRegistry, findings: &Findings) -> (&'static str, String) {
    let wanted = registry.workload.as_ref().map_or(0, |workload| workload.replicas);
    let ready = findings.ready_replicas.min(wanted);
    if findings.rollout == Rollout::Stuck {
        let deployment = registry.names.deployment();
        if let Some(pod_problem) = &findings.pod_problem {
            return (
                why::ROLLOUT_STUCK,
                format!("{ready} of {wanted} replicas are ready: {}", cause(pod_problem)),
            );
        }
        let sentence = format!(
            "{ready} of {wanted} replicas are ready and Deployment `{deployment}` makes no progress; look at its Pods with \
             `kubectl describe pods -l {}={}`",
            operator_api::REGISTRY_LABEL,
            registry.names.label()
        );
        return (why::ROLLOUT_STUCK, sentence);
    }
    if wanted == 0 {
        return (
            why::SCALED_TO_ZERO,
            "No replica is asked for; raise `spec.replicas` to serve".to_owned(),
        );
    }
    if findings.serving() {
        return (why::SERVING, format!("Serving with {ready} of {wanted} replicas"));
    }
    if let (true, Some(failure)) = (findings.up(), &findings.probe_failure) {
        return (why::NOT_ANSWERING, failure.sentence().to_owned());
    }
    if let (None, Some((claim, phase))) = (&findings.pod_problem, &findings.unbound_claim) {
        return (
            why::VOLUME_PENDING,
            format!("PersistentVolumeClaim `{claim}` is {phase}"),
        );
    }
    if findings.rollout == Rollout::Complete && findings.ready_replicas == 0 {
        let sentence = format!("None of {wanted} replicas is ready");
        return (why::NO_READY_REPLICA, with_cause(sentence, findings));
    }
    if findings.rollout == Rollout::Complete && !findings.reachable {
        let service = registry.names.service();
        return (
            why::NO_READY_REPLICA,
            format!("Service `{service}` does not lead to a ready replica yet"),
        );
    }
    let sentence = format!("{ready} of {wanted} replicas are ready");
    (why::ROLLING_OUT, with_cause(sentence, findings))
}

fn with_cause(sentence: String, findings: &Findings) -> String {
    match &findings.pod_problem {
        Some(pod_problem) => format!("{sentence}: {}", cause(pod_problem)),
        None => sentence,
    }
}

/// The cause for which a Pod is not ready, and the way out where it is not plain.
fn cause(pod_problem: &PodProblem) -> String {
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
            ..
        } => format!("the server is in CrashLoopBackOff: {message}"),
        PodProblem::Crashing {
            pod,
            exit_code,
            message: None,
        } => {
            let code = exit_code
                .map(|code| format!(" with exit code {code}"))
                .unwrap_or_default();
            format!("the server is in CrashLoopBackOff{code}; see why with `kubectl logs --previous {pod}`")
        }
        PodProblem::Unready { pod, message } => format!("the server in Pod `{pod}` says: {message}"),
        PodProblem::Container { pod, reason } => {
            format!(
                "the container of Pod `{pod}` cannot be made ({reason}); see why with `kubectl describe pod {pod}`"
            )
        }
    }
}

/// The sentences about problems: each with its cause and the way out.
pub(super) fn failure(problems: &Problems) -> String {
    let sentences = problems.iter().map(|error| {
        let text = match error {
            // "The Registry cannot be brought up" would tell its author nothing new.
            Error::Validate(invalid) => invalid.to_string(),
            Error::Apply(apply::Error::Foreign(foreign)) => foreign.to_string(),
            Error::Read(_) | Error::Issue(_) | Error::Apply(_) => chain(error),
        };
        match error.hint() {
            Some(hint) => format!("{}; {hint}", capitalised(&text)),
            None => capitalised(&text),
        }
    });
    sentences.collect::<Vec<_>>().join(". ")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
