//! The events that tell a person what has changed.
//!
//! Guarantees: what passes or was asked for is Normal, and a Warning is what somebody should look at; the same is told
//! again only when it has been different in between. Start at [`publish`].

use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder};
use operator_api::{Registry, RegistryStatus};

use super::outcome::Outcome;
use super::verdict::{Urgency, Verdict, condition, told};
use super::{reason, sentence};
use crate::conditions::{READY, STORAGE_HEALTHY, VERIFIED};
use crate::fault::{chain, namespace_is_ending};

/// The longest note of an event, in characters. The API's limit is 1 KiB.
pub(super) const NOTE_MAX: usize = 1000;

/// Logs and publishes what differs between the Registry's status and `status`.
pub(super) async fn publish(
    recorder: &Recorder,
    registry: &Registry,
    status: &RegistryStatus,
    verdict: &Verdict,
    outcome: &Outcome<'_>,
) {
    let none = RegistryStatus::default();
    let known = registry.status.as_ref().unwrap_or(&none);
    let events = of_reason(known, status, verdict)
        .into_iter()
        .chain(of_verification(known, status))
        .chain(of_storage(known, status))
        .chain(of_causes(known, outcome));
    for event in events {
        tracing::info!(
            namespace = registry.metadata.namespace,
            registry = registry.metadata.name,
            ready = verdict.ready,
            reason = event.reason,
            "{}",
            event.note.as_deref().unwrap_or_default()
        );
        match recorder.publish(&event, &registry.object_ref(&())).await {
            Ok(()) => {}
            // No event can be created in a namespace that is being deleted.
            Err(error) if namespace_is_ending(&error) => {
                tracing::debug!(error = %chain(&error), "no event was published");
            }
            // The status has the same sentence, so an event that cannot be written is no failure.
            Err(error) => tracing::warn!(error = %chain(&error), "cannot publish an event"),
        }
    }
}

/// The reason of Ready is another one.
fn of_reason(known: &RegistryStatus, status: &RegistryStatus, verdict: &Verdict) -> Option<Event> {
    let before = condition(known, READY);
    let now = condition(status, READY)?;
    if before.is_some_and(|before| before.reason == now.reason) {
        return None;
    }
    let was_ready = before.is_some_and(|before| before.status == "True");
    let is_bad = match &verdict.cause {
        Some(cause) => match cause.urgency {
            Urgency::Waiting { .. } | Urgency::Person => true,
            // A Pod was lost, where before the first Pod is ready this is expected.
            Urgency::Passing => cause.reason == reason::NO_READY_REPLICA && was_ready,
            Urgency::AsAsked => false,
        },
        None => false,
    };
    let note = match &verdict.cause {
        Some(cause) => &cause.sentence,
        None => &now.message,
    };
    Some(event(is_bad, verdict.reason(), note))
}

/// A push and a pull worked, or did not.
fn of_verification(known: &RegistryStatus, status: &RegistryStatus) -> Option<Event> {
    let now = condition(status, VERIFIED).filter(|now| now.status != "Unknown")?;
    let before = condition(known, VERIFIED);
    let is_same = before.is_some_and(|before| before.status == now.status && before.reason == now.reason);
    (!is_same).then(|| event(now.status == "False", &now.reason, &now.message))
}

/// There is little room left, or a volume is being grown.
fn of_storage(known: &RegistryStatus, status: &RegistryStatus) -> Option<Event> {
    let told = [reason::NEARLY_FULL, reason::RESIZE_PENDING, reason::RESIZE_FAILED];
    let now = condition(status, STORAGE_HEALTHY).filter(|now| told.contains(&now.reason.as_str()))?;
    let before = condition(known, STORAGE_HEALTHY);
    let is_same = before.is_some_and(|before| before.reason == now.reason);
    (!is_same).then(|| event(now.reason != reason::RESIZE_PENDING, &now.reason, &now.message))
}

/// Causes that the status did not name before.
fn of_causes(known: &RegistryStatus, outcome: &Outcome<'_>) -> Vec<Event> {
    let findings = outcome.findings;
    let before = told(known).map_or("", |told| told.message.as_str());
    let mut events = Vec::new();
    if let Some(problem) = &findings.pod_problem {
        let cause = sentence::cause(problem);
        if outcome.is_applied() && !before.contains(&cause) {
            events.push(event(
                true,
                reason::of_pod(problem),
                &sentence::capitalised(&cause),
            ));
        }
    }
    if let (Some(problem), Some((claim, _))) = (&findings.claim_problem, &findings.unbound_claim) {
        let sentence = sentence::unprovisioned(claim, problem);
        if !before.contains(&sentence) {
            events.push(event(true, reason::PROVISIONING_FAILED, &sentence));
        }
    }
    events
}

fn event(is_bad: bool, reason: &str, note: &str) -> Event {
    Event {
        type_: match is_bad {
            true => EventType::Warning,
            false => EventType::Normal,
        },
        reason: reason.to_owned(),
        note: Some(note.chars().take(NOTE_MAX).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}
