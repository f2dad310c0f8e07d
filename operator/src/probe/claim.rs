//! Why no volume is made for a claim. The provisioner writes it into the claim's events and nowhere else.
//!
//! Start at [`provisioning_failure`].

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

/// The longest message that is reported, in characters.
const MESSAGE_MAX: usize = 300;

/// The message of the latest warning about the claim. `None` when there is none, or when events may not be read.
pub(super) async fn provisioning_failure(client: &Client, namespace: &str, claim: &str) -> Option<String> {
    let selector =
        format!("involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim},type=Warning");
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let events = api
        .list(&ListParams::default().fields(&selector))
        .await
        .ok()?
        .items;
    let latest = events.into_iter().max_by_key(at)?;
    let message = latest.message.unwrap_or_default();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    (!message.is_empty()).then(|| message.chars().take(MESSAGE_MAX).collect())
}

/// The time of an event's last occurrence, of which there are three forms.
fn at(event: &Event) -> Option<jiff::Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let series = event
        .series
        .as_ref()
        .and_then(|series| Some(series.last_observed_time.as_ref()?.0));
    last.or(series).or(event.event_time.as_ref().map(|time| time.0))
}
