//! The CustomResourceDefinition, generated from the types and completed.

mod bounds;
mod embedded;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::Registry;

/// The definition as it is applied to a cluster.
///
/// Differs from the plain derive in six ways: all defaults are in it; nothing is nullable, so that the API server drops an explicit
/// null before a union is counted; each integer and each of Kubernetes' own types has the limits of its Rust type, so
/// that every object the API server accepts can be parsed; the descriptions of Kubernetes' own types are short, because
/// they are pages long and `kubectl explain pod` has them; the status has a default; and the object has Berth's labels.
///
/// # Panics
/// Never on a build that passes its tests: the derive's output is a JSON object of known shape.
pub fn crd() -> CustomResourceDefinition {
    let mut definition = serde_json::to_value(Registry::crd()).expect("a generated definition is plain JSON");
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    drop_nulls(schema);
    join_lines(schema);
    let pod = &mut schema["properties"]["spec"]["properties"]["pod"]["properties"];
    for member in [
        "resources",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
    ] {
        embedded::complete(&mut pod[member], member);
    }
    let policy = &mut schema["properties"]["spec"]["properties"]["networkPolicy"]["properties"];
    for member in ["from", "metricsFrom"] {
        embedded::complete(&mut policy[member], member);
    }
    let conditions = &mut schema["properties"]["status"]["properties"]["conditions"];
    embedded::complete(&mut conditions["items"], "conditions");
    bounds::complete(schema);
    schema["properties"]["status"]["default"] = status_before_the_first_reconcile();
    set_defaults(&mut schema["properties"]["spec"]["properties"]);
    definition["metadata"]["labels"] = serde_json::json!({ "app.kubernetes.io/part-of": "berth" });
    serde_json::from_value(definition).expect("completing leaves a definition a definition")
}

/// The status until the operator has written one. Without it, tools that judge by the conditions take a Registry that
/// nobody has looked at yet for one that is up to date.
fn status_before_the_first_reconcile() -> Value {
    serde_json::json!({
        "observedGeneration": -1,
        "conditions": [{
            "type": "Ready",
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for the operator",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }],
    })
}

/// Sets the defaults that a type leaves to the operator, so that `kubectl explain` and `kubectl get` show them. The API
/// server fills in the members of an empty object. A union has no default: together with the member that its author
/// chooses it would be two.
fn set_defaults(spec: &mut Value) {
    for member in ["http", "log", "service"] {
        spec[member]["default"] = serde_json::json!({});
    }
    for (path, default) in [
        ("/http/properties/drainTimeout", "60s"),
        ("/image/properties/pullPolicy", "IfNotPresent"),
        ("/tls/properties/selfSigned/properties/duration", "8760h"),
    ] {
        if let Some(member) = spec.pointer_mut(path) {
            member["default"] = serde_json::json!(default);
        }
    }
}

/// Removes `nullable`, and the `null` that optional enums list beside their values.
fn drop_nulls(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove("nullable");
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            if let Some(Value::Array(values)) = members.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Joins the lines of each paragraph of a description: they end where the source's lines end, and `kubectl explain` wraps
/// by itself.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                let paragraphs = text
                    .split("\n\n")
                    .map(|paragraph| match paragraph.contains("\n-") {
                        true => paragraph.to_owned(),
                        false => paragraph.replace('\n', " "),
                    });
                *text = paragraphs.collect::<Vec<_>>().join("\n\n");
            }
            members.values_mut().for_each(join_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
