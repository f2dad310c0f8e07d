//! The fields of the spec, as the definition declares them, and values that it refuses.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Types of Kubernetes' own API. They are copied as a whole, so one value stands for all their fields.
const EMBEDDED: [&str; 5] = [
    "networkPolicy.from[]",
    "networkPolicy.metricsFrom[]",
    "pod.affinity",
    "pod.tolerations[]",
    "pod.topologySpreadConstraints[]",
];

/// The longest text that is sent to see whether it is too long.
const LONG: u64 = 100_000;

/// The schema of `spec`.
pub(super) fn of_spec() -> Value {
    let definition = serde_json::to_value(operator_api::crd()).expect("the definition is JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"].clone()
}

/// The innermost fields.
pub(super) fn all_fields(schema: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    collect(schema, "", &mut all);
    all
}

fn collect(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    if is_innermost(schema, path) {
        all.insert(path.to_owned());
        return;
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        collect(member, &below(path, name), all);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), all);
    }
    if schema["additionalProperties"].is_object() {
        collect(&schema["additionalProperties"], &format!("{path}{{}}"), all);
    }
}

fn is_innermost(schema: &Value, path: &str) -> bool {
    let holds = ["properties", "items", "additionalProperties"];
    EMBEDDED.contains(&path) || !holds.iter().any(|holds| schema[holds].is_object())
}

fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

/// Adds the innermost fields that a value sets.
pub(super) fn fields(schema: &Value, value: &Value, set: &mut BTreeSet<String>) {
    each(schema, value, "", &mut |_, _, path| {
        set.insert(path.to_owned());
    });
}

/// Copies of a value, each with one field that the schema does not allow.
pub(super) fn broken(schema: &Value, value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    each(schema, value, "", &mut |schema, pointer, _| {
        let mut copy = value.clone();
        let field = copy.pointer_mut(pointer).expect("the pointer is of this value");
        *field = refused(schema);
        all.push(copy);
    });
    all
}

/// Calls `visit` with schema, JSON pointer and path of each innermost field that `value` sets.
fn each(schema: &Value, value: &Value, path: &str, visit: &mut dyn FnMut(&Value, &str, &str)) {
    below_pointer(schema, value, "", path, visit);
}

fn below_pointer(
    schema: &Value,
    value: &Value,
    pointer: &str,
    path: &str,
    visit: &mut dyn FnMut(&Value, &str, &str),
) {
    if value.is_null() {
        return;
    }
    if is_innermost(schema, path) {
        visit(schema, pointer, path);
        return;
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[]");
        below_pointer(&schema["items"], item, &format!("{pointer}/{at}"), &path, visit);
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        match schema["additionalProperties"].is_object() {
            true => {
                let path = format!("{path}{{}}");
                below_pointer(&schema["additionalProperties"], member, &pointer, &path, visit);
            }
            false => {
                let path = below(path, name);
                below_pointer(&schema["properties"][name], member, &pointer, &path, visit);
            }
        }
    }
}

/// A value that a schema does not allow.
fn refused(schema: &Value) -> Value {
    if schema["enum"].is_array() {
        return json!("Nonsense");
    }
    match schema["type"].as_str() {
        Some("string") => match schema["maxLength"].as_u64() {
            Some(most) if most < LONG => json!("x".repeat(most as usize + 1)),
            _ => json!(1),
        },
        Some("integer") => json!(schema["maximum"].as_f64().unwrap_or(f64::from(i32::MAX)) as i64 + 1),
        _ => json!("text"),
    }
}
