//! The conditions of the status, made of a verdict.
//!
//! Guarantees: `lastTransitionTime` moves only when the status of a condition does; a cause is told once. Start at
//! [`conditions`].

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use operator_api::RegistryStatus;

use super::outcome::Outcome;
use super::reason as why;
use super::verdict::{Urgency, Verdict, condition};
use super::{storage, verification};
use crate::conditions::{
    AVAILABLE, CERTIFICATE_VALID, READY, RECONCILING, STALLED, STORAGE_HEALTHY, VERIFIED,
};
use crate::findings::{Findings, PodProblem, is_about_the_certificate};

/// A condition before it has its times.
struct State {
    kind: &'static str,
    /// `None` for Unknown.
    holds: Option<bool>,
    reason: String,
    message: String,
}

impl State {
    fn new(
        kind: &'static str,
        holds: impl Into<Option<bool>>,
        reason: impl Into<String>,
        message: String,
    ) -> Self {
        Self {
            kind,
            holds: holds.into(),
            reason: reason.into(),
            message,
        }
    }
}

/// The conditions, those that want attention first: `kubectl get -o wide` shows the first message.
pub(super) fn conditions(
    verdict: &Verdict,
    outcome: &Outcome<'_>,
    status: &RegistryStatus,
    known: &RegistryStatus,
    now: Timestamp,
) -> Vec<Condition> {
    let cause = |holds: bool, otherwise| match &verdict.cause {
        Some(cause) if holds => (cause.reason, cause.sentence.clone()),
        _ => (otherwise, String::new()),
    };
    let (stalled, why_stalled) = cause(verdict.stalled, why::UNHINDERED);
    let (reconciling, why_reconciling) = cause(verdict.reconciling, why::SETTLED);
    let mut states = vec![
        State::new(STALLED, verdict.stalled, stalled, why_stalled),
        State::new(RECONCILING, verdict.reconciling, reconciling, why_reconciling),
        State::new(READY, verdict.ready, verdict.reason(), serving(verdict, outcome)),
        available(outcome.findings),
    ];
    states.extend(certificate(status, now));
    states.push(storage_healthy(verdict, outcome, status));
    let verified = verification::condition(outcome.registry, outcome.findings.verification.as_ref(), known);
    states.extend(verified.map(|(holds, reason, message)| State::new(VERIFIED, holds, reason, message)));
    let finished = states.into_iter().map(|state| {
        let status_text = match state.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = condition(known, state.kind).filter(|before| before.status == status_text);
        let since = before.map_or(now, |before| before.last_transition_time.0);
        Condition {
            type_: state.kind.to_owned(),
            status: status_text.to_owned(),
            reason: state.reason,
            message: state.message,
            observed_generation: status.observed_generation,
            // The API server stores whole seconds: a fraction would differ from what is read back.
            last_transition_time: Time(Timestamp::from_second(since.as_second()).unwrap_or(since)),
        }
    });
    finished.collect()
}

/// The message of Ready. The cause is told once, under Reconciling or Stalled.
fn serving(verdict: &Verdict, outcome: &Outcome<'_>) -> String {
    let Findings { wanted, .. } = *outcome.findings;
    let ready = outcome.findings.ready_replicas.min(wanted);
    let serving = format!("Serving with {ready} of {wanted} replicas");
    let state = match &verdict.cause {
        Some(cause) if cause.urgency == Urgency::AsAsked => match verdict.ready && wanted > 0 {
            true => format!("{serving}. {}", cause.sentence),
            false => cause.sentence.clone(),
        },
        _ if verdict.ready => serving,
        _ => {
            let kind = if verdict.stalled { STALLED } else { RECONCILING };
            format!("Not serving; condition {kind} says why")
        }
    };
    let notes = outcome.registry.notes.iter().map(|note| format!(". {note}"));
    std::iter::once(state).chain(notes).collect()
}

fn available(findings: &Findings) -> State {
    match findings.available() {
        true => State::new(AVAILABLE, true, why::READY_REPLICA, String::new()),
        false => State::new(AVAILABLE, false, why::NO_READY_REPLICA, String::new()),
    }
}

/// Whether the certificates that clients see are valid; `None` where there are none.
fn certificate(status: &RegistryStatus, now: Timestamp) -> Option<State> {
    let end = status
        .tls
        .as_ref()
        .and_then(|tls| tls.not_after.as_ref())
        .map(|end| end.0);
    if let Some(end) = end.filter(|end| *end <= now) {
        let message = format!("The server's certificate expired at {end}");
        return Some(State::new(
            CERTIFICATE_VALID,
            false,
            why::CERTIFICATE_EXPIRED,
            message,
        ));
    }
    if let Some(endpoint) = status
        .endpoints
        .iter()
        .find(|endpoint| is_about_the_certificate(endpoint))
    {
        let reason = match endpoint.reason.as_deref() {
            Some(why::CERTIFICATE_EXPIRED) => why::CERTIFICATE_EXPIRED,
            _ => why::HOST_NOT_COVERED,
        };
        let message = endpoint.message.clone().unwrap_or_default();
        return Some(State::new(CERTIFICATE_VALID, false, reason, message));
    }
    let by_others = status
        .endpoints
        .iter()
        .any(|endpoint| endpoint.url.starts_with("https://"));
    (end.is_some() || by_others).then(|| State::new(CERTIFICATE_VALID, true, why::VALID, String::new()))
}

/// Whether the content is there.
fn storage_healthy(verdict: &Verdict, outcome: &Outcome<'_>, status: &RegistryStatus) -> State {
    let findings = outcome.findings;
    let unhealthy = |reason, message| State::new(STORAGE_HEALTHY, false, reason, message);
    let told = verdict.reason();
    if ["StorageLost", "ClaimNotFound", "ClaimTerminating"].contains(&told) {
        return unhealthy(told, String::new());
    }
    if let Some((claim, phase)) = &findings.unbound_claim {
        let reason = match phase.as_str() {
            "Lost" => why::VOLUME_LOST,
            _ if findings.claim_problem.is_some() => why::PROVISIONING_FAILED,
            _ => why::VOLUME_PENDING,
        };
        return unhealthy(reason, format!("PersistentVolumeClaim `{claim}` is {phase}"));
    }
    match &findings.pod_problem {
        Some(PodProblem::Unready { message, .. }) if message.contains("storage") => {
            unhealthy(why::STORAGE_UNAVAILABLE, String::new())
        }
        _ if findings.ready_replicas > 0 => {
            let backend = outcome.registry.storage.as_ref();
            let (healthy, reason, message) = storage::room(status.storage.as_ref(), backend, findings);
            State::new(STORAGE_HEALTHY, healthy, reason, message)
        }
        _ => State::new(STORAGE_HEALTHY, None, why::UNKNOWN, String::new()),
    }
}
