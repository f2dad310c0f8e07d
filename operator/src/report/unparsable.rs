//! The status of a Registry that this operator cannot parse: one that a newer definition accepted, for example.
//!
//! Guarantees: nothing of the status but the conditions is changed, whatever is in it; the message names the field. Must
//! not: need the types of the spec or of the status.
//! Start at [`unparsable`].

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource as _};
use operator_api::Registry;
use serde_json::{Value, json};

use super::event::NOTE_MAX;
use super::{Error, STATUS_MANAGER, reason};
use crate::conditions::{READY, RECONCILING, STALLED};
use crate::fault::chain;
use crate::settings::VERSION;
use crate::subject::Subject;

/// Tells that the Registry cannot be parsed: in its conditions and, when it was not told before, in an event.
///
/// # Errors
/// The Registry could not be fetched, or the API server refused the status.
pub async fn unparsable(client: &Client, recorder: &Recorder, subject: &Subject) -> Result<(), Error> {
    let resource = ApiResource::erase::<Registry>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &subject.namespace, &resource);
    let found = api.get_opt(&subject.name).await.map_err(|source| Error::Get {
        name: subject.name.clone(),
        source: Box::new(source),
    })?;
    let Some(object) = found.filter(|object| object.metadata.deletion_timestamp.is_none()) else {
        return Ok(());
    };
    // Another reconcile has read a newer one that can be parsed.
    let Some(problem) = problem(&object) else {
        return Ok(());
    };
    let sentence = format!(
        "{problem}; correct it, or install the version of the operator that wrote it (this is {VERSION}). Until then \
         nothing is changed"
    );
    let Some(status) = status(&object, &sentence, Timestamp::now()) else {
        return Ok(());
    };
    let body = json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "Registry",
        "metadata": { "name": subject.name, "uid": object.metadata.uid },
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match api
        .patch_status(&subject.name, &params, &Patch::Apply(&body))
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(answer)) if answer.is_not_found() => return Ok(()),
        Err(source) => {
            return Err(Error::Patch {
                name: subject.name.clone(),
                source: Box::new(source),
            });
        }
    }
    tracing::warn!(
        namespace = subject.namespace,
        registry = subject.name,
        reason = reason::UNPARSABLE,
        "{sentence}"
    );
    let event = Event {
        type_: EventType::Warning,
        reason: reason::UNPARSABLE.to_owned(),
        note: Some(sentence.chars().take(NOTE_MAX).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    // The status has the same sentence, so an event that cannot be written is no failure.
    if let Err(error) = recorder.publish(&event, &object.object_ref(&resource)).await {
        tracing::warn!(error = %chain(&error), "cannot publish an event");
    }
    Ok(())
}

/// The problem of the parser; `None` when there is none.
fn problem(object: &DynamicObject) -> Option<String> {
    let object = serde_json::to_value(object).ok()?;
    let error = serde_path_to_error::deserialize::<_, Registry>(object).err()?;
    Some(format!(
        "`{}` cannot be read: {}",
        error.path(),
        error.inner().to_string().trim_end_matches('.')
    ))
}

/// The status with the three conditions that follow; `None` when it has them already. All else stays as it is.
fn status(object: &DynamicObject, sentence: &str, now: Timestamp) -> Option<Value> {
    let known = object.data.get("status").cloned().unwrap_or_else(|| json!({}));
    let conditions = known["conditions"].as_array().cloned().unwrap_or_default();
    let before = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let since = before(kind)
            .filter(|condition| condition["status"] == status)
            .and_then(|condition| serde_json::from_value(condition["lastTransitionTime"].clone()).ok())
            // The API server stores whole seconds.
            .unwrap_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
        json!(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: object.metadata.generation,
            last_transition_time: since,
        })
    };
    let unknown = "The operator cannot tell whether clients are served";
    let told = [
        condition(STALLED, "True", reason::UNPARSABLE, sentence),
        condition(RECONCILING, "False", reason::SETTLED, ""),
        condition(READY, "Unknown", reason::UNPARSABLE, unknown),
    ];
    let others = conditions
        .iter()
        .filter(|condition| told.iter().all(|told| told["type"] != condition["type"]));
    let all: Vec<Value> = told.iter().chain(others).cloned().collect();
    let unchanged = known["observedGeneration"] == json!(object.metadata.generation)
        && told.iter().all(|told| conditions.contains(told));
    let mut status = known;
    status["conditions"] = Value::Array(all);
    status["observedGeneration"] = json!(object.metadata.generation);
    (!unchanged).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(status: Value) -> DynamicObject {
        let affinity = json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 3_000_000_000_u64, "preference": {} },
        ] } });
        serde_json::from_value(json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "Registry",
            "metadata": { "name": "harbour", "generation": 4 },
            "spec": {
                "storage": { "emptyDir": {} },
                "auth": { "anonymous": { "access": "Pull" } },
                "pod": { "affinity": affinity },
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn the_field_that_cannot_be_parsed_is_named() {
        let problem = problem(&registry(json!({}))).unwrap();
        assert!(
            problem.contains("spec.pod.affinity.nodeAffinity") && problem.contains("3000000000"),
            "{problem}"
        );
    }

    #[test]
    fn only_the_conditions_change_and_only_once() {
        let now: Timestamp = crate::fixtures::NOW.parse().unwrap();
        let other = json!({ "type": "CertificateValid", "status": "True" });
        let known = json!({ "url": "https://quay.example", "later": [1], "conditions": [other] });
        let told = status(&registry(known), "no", now).unwrap();
        assert_eq!(told["url"], "https://quay.example");
        assert_eq!(told["later"], json!([1]));
        assert_eq!(told["observedGeneration"], 4);
        let conditions = told["conditions"].as_array().unwrap();
        assert!(conditions.contains(&other), "{told}");
        assert_eq!(conditions[0]["type"], "Stalled");
        assert_eq!(conditions[0]["message"], "no");
        assert_eq!(status(&registry(told), "no", now), None, "it is told already");
    }
}
