//! The event that tells a person when the reason of Ready changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder};
use operator_api::{Registry, RegistryStatus};

use super::reason;
use crate::conditions::READY;
use crate::fault::chain;

/// The longest note of an event, in characters. The API's limit is 1 KiB.
pub(super) const NOTE_MAX: usize = 1000;

/// Logs and publishes the change from the Registry's status to `status`, when the reason of Ready is another one.
pub(super) async fn publish(recorder: &Recorder, registry: &Registry, status: &RegistryStatus) {
    let before = registry.status.as_ref().and_then(ready);
    let Some(now) = ready(status).filter(|now| before.is_none_or(|before| before.reason != now.reason))
    else {
        return;
    };
    tracing::info!(
        namespace = registry.metadata.namespace,
        registry = registry.metadata.name,
        ready = now.status,
        reason = now.reason,
        "{}",
        now.message
    );
    let event = Event {
        type_: event_type(before, now),
        reason: now.reason.clone(),
        note: Some(now.message.chars().take(NOTE_MAX).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    // The status has the same sentence, so an event that cannot be written is no failure.
    if let Err(error) = recorder.publish(&event, &registry.object_ref(&())).await {
        tracing::warn!(error = %chain(&error), "cannot publish an event");
    }
}

/// A warning, unless the change is an expected one.
fn event_type(before: Option<&Condition>, now: &Condition) -> EventType {
    let starting = [reason::ROLLING_OUT, reason::VOLUME_PENDING, reason::NOT_ANSWERING];
    let was_ready = before.is_some_and(|before| before.status == "True");
    let expected = now.status == "True"
        || starting.contains(&now.reason.as_str())
        // Before the first Pod is ready this is expected; afterwards a Pod was lost.
        || (now.reason == reason::NO_READY_REPLICA && !was_ready);
    match expected {
        true => EventType::Normal,
        false => EventType::Warning,
    }
}

fn ready(status: &RegistryStatus) -> Option<&Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == READY)
}
