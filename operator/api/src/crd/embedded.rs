//! The schemas of types that Kubernetes defines and a Registry contains: affinity, tolerations, resources, conditions.
//!
//! Guarantees: what these schemas accept, Kubernetes' own types and Kubernetes' own rules accept as well, as far as one
//! value decides; descriptions are one sentence long, because the originals are pages. Must not: touch a field of
//! Berth's own types.
//! Start at [`complete`].

use serde_json::{Map, Value, json};

use crate::common::{LABEL_KEY, LABEL_KEY_MAX, LABEL_VALUE, QUANTITY};

/// The longest list in an embedded type.
const LIST_MAX: u64 = 64;
/// The longest description of a field.
const DESCRIPTION_MAX: usize = 320;

/// Completes the schema of an embedded type, whose field is called `name`.
pub(super) fn complete(schema: &mut Value, name: &str) {
    walk(schema, &mut vec![name.to_owned()]);
}

fn walk(schema: &mut Value, path: &mut Vec<String>) {
    let Value::Object(members) = schema else { return };
    shorten(members);
    // A Registry's Pod has no resource claims that a container could name.
    if path.as_slice() == ["resources"]
        && let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut)
    {
        properties.remove("claims");
    }
    let limits = limits(path, members);
    for (key, limit) in limits {
        members.entry(key).or_insert(limit);
    }
    if let Some(items) = members.get_mut("items") {
        path.push("[]".to_owned());
        walk(items, path);
        path.pop();
    }
    if let Some(values) = members.get_mut("additionalProperties") {
        path.push("{}".to_owned());
        walk(values, path);
        path.pop();
    }
    let properties = members.get_mut("properties").and_then(Value::as_object_mut);
    for (name, member) in properties.into_iter().flatten() {
        path.push(name.clone());
        walk(member, path);
        path.pop();
    }
}

/// The limits of one schema: by its type, and for a few fields by their name.
fn limits(path: &[String], members: &Map<String, Value>) -> Map<String, Value> {
    let limits = match members.get("type").and_then(Value::as_str) {
        Some("array") => json!({ "maxItems": LIST_MAX }),
        Some("object") if members.contains_key("additionalProperties") => {
            json!({ "maxProperties": LIST_MAX })
        }
        Some("string") => strings(path, members),
        Some("integer") => integers(path),
        None if members.contains_key("x-kubernetes-int-or-string") => {
            json!({ "maxLength": 32, "pattern": QUANTITY })
        }
        _ => json!({}),
    };
    match limits {
        Value::Object(limits) => limits,
        _ => Map::new(),
    }
}

fn integers(path: &[String]) -> Value {
    match path.last().map(String::as_str) {
        Some("weight") => json!({ "minimum": 1, "maximum": 100 }),
        Some("maxSkew" | "minDomains") => json!({ "minimum": 1 }),
        Some("observedGeneration") => json!({ "minimum": 0 }),
        _ => json!({}),
    }
}

fn strings(path: &[String], members: &Map<String, Value>) -> Value {
    if members.get("format").and_then(Value::as_str) == Some("date-time") {
        return json!({ "maxLength": 64 });
    }
    let parent = |name: &str| path.iter().rev().nth(2).is_some_and(|parent| parent == name);
    match path.last().map(String::as_str) {
        Some("operator") if path.iter().any(|name| name == "tolerations") => {
            json!({ "enum": ["Equal", "Exists"] })
        }
        Some("operator")
            if path
                .iter()
                .any(|name| name.ends_with("elector") && name != "nodeSelector") =>
        {
            json!({ "enum": ["In", "NotIn", "Exists", "DoesNotExist"] })
        }
        Some("operator") if parent("matchFields") => json!({ "enum": ["In", "NotIn"] }),
        Some("operator") => json!({ "enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] }),
        Some("cidr") => cidr(),
        Some("[]") if path.iter().any(|name| name == "except") => cidr(),
        Some("effect") => json!({ "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"] }),
        Some("whenUnsatisfiable") => json!({ "enum": ["DoNotSchedule", "ScheduleAnyway"] }),
        Some("nodeAffinityPolicy" | "nodeTaintsPolicy") => json!({ "enum": ["Honor", "Ignore"] }),
        Some("status") => json!({ "enum": ["True", "False", "Unknown"] }),
        Some("key") if parent("matchFields") => json!({ "enum": ["metadata.name"] }),
        Some("key" | "topologyKey") => json!({ "maxLength": LABEL_KEY_MAX, "pattern": LABEL_KEY }),
        Some("value") => json!({ "maxLength": 63, "pattern": LABEL_VALUE }),
        Some("type" | "reason") => json!({ "maxLength": LABEL_KEY_MAX }),
        // The operator's own text, as long as it has to be.
        Some("message") => json!({}),
        Some("[]") if path.iter().any(|name| name == "matchFields") => json!({ "maxLength": 253 }),
        Some("[]") if path.iter().any(|name| name == "namespaces") => {
            json!({ "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" })
        }
        Some("[]") if path.iter().any(|name| name == "values") => {
            json!({ "maxLength": 63, "pattern": LABEL_VALUE })
        }
        Some("{}") => json!({ "maxLength": 63, "pattern": LABEL_VALUE }),
        _ => json!({ "maxLength": LABEL_KEY_MAX, "pattern": LABEL_KEY }),
    }
}

fn cidr() -> Value {
    json!({
        "maxLength": 49,
        "x-kubernetes-validations": [{ "rule": "isCIDR(self)", "message": "must be a network such as 10.0.0.0/8" }],
    })
}

/// Leaves the first sentences of a description, so that `kubectl explain` says what a field is.
fn shorten(members: &mut Map<String, Value>) {
    let Some(Value::String(text)) = members.get_mut("description") else {
        return;
    };
    let first = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let mut short = String::new();
    for sentence in first.split_inclusive(". ") {
        if !short.is_empty() && short.len() + sentence.len() > DESCRIPTION_MAX {
            break;
        }
        short.push_str(sentence);
    }
    *text = short.trim_end().to_owned();
}
