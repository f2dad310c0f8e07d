//! The fields that the operator has applied, as the API server records them.

use std::fmt;

use serde_json::{Map, Value, json};

/// One step to a field.
#[derive(Clone, Debug)]
enum Step {
    Member(String),
    /// The item of a list with these keys.
    Item(Map<String, Value>),
    /// The item of a set.
    Value(Value),
}

/// A path to a field.
#[derive(Clone, Debug)]
pub(super) struct Field(Vec<Step>);

impl Field {
    /// The fields whose manager is the operator by server-side apply, each at its innermost member.
    pub(super) fn applied(object: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        let managers = object["metadata"]["managedFields"].as_array();
        for manager in managers.into_iter().flatten() {
            let ours = manager["manager"] == "berth-operator" && manager["operation"] == "Apply";
            if ours && manager["subresource"].is_null() {
                collect(&manager["fieldsV1"], &mut Vec::new(), &mut all);
            }
        }
        all
    }

    pub(super) fn value(&self, object: &Value) -> Option<Value> {
        let mut at = object;
        for step in &self.0 {
            at = match step {
                Step::Member(name) => at.get(name)?,
                step => at.as_array()?.iter().find(|item| step.is(item))?,
            };
        }
        Some(at.clone())
    }

    /// Gives the field another value of its type. `false` where its type has no other one.
    pub(super) fn other_value(&self, object: &mut Value) -> bool {
        let Some(value) = self.target(object) else {
            return false;
        };
        *value = match &*value {
            Value::Bool(yes) => json!(!yes),
            Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
            Value::String(text) if text.len() % 4 == 0 && is_base64(text) => json!("b3RoZXI="),
            Value::String(text) => json!(format!("{text}x")),
            Value::Null | Value::Array(_) | Value::Object(_) => return false,
        };
        true
    }

    /// Removes the field.
    pub(super) fn removed(&self, object: &mut Value) -> bool {
        let Some((last, steps)) = self.0.split_last() else {
            return false;
        };
        let Some(parent) = Self(steps.to_vec()).target(object) else {
            return false;
        };
        match (last, parent) {
            (Step::Member(name), Value::Object(members)) => members.remove(name).is_some(),
            (step, Value::Array(items)) => {
                let before = items.len();
                items.retain(|item| !step.is(item));
                items.len() < before
            }
            _ => false,
        }
    }

    fn target<'a>(&self, object: &'a mut Value) -> Option<&'a mut Value> {
        let mut at = object;
        for step in &self.0 {
            at = match step {
                Step::Member(name) => at.get_mut(name)?,
                step => at.as_array_mut()?.iter_mut().find(|item| step.is(item))?,
            };
        }
        Some(at)
    }
}

impl Step {
    fn is(&self, item: &Value) -> bool {
        match self {
            Self::Member(_) => false,
            Self::Item(keys) => keys.iter().all(|(key, value)| item.get(key) == Some(value)),
            Self::Value(value) => item == value,
        }
    }
}

fn collect(fields: &Value, path: &mut Vec<Step>, all: &mut Vec<Field>) {
    let members: Vec<_> = fields
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != ".")
        .collect();
    if members.is_empty() && !path.is_empty() {
        all.push(Field(path.clone()));
    }
    for (key, inner) in members {
        let (form, rest) = key.split_once(':').expect("the form of the API server");
        let parse = || serde_json::from_str::<Value>(rest).expect("a key of a list is JSON");
        path.push(match form {
            "f" => Step::Member(rest.to_owned()),
            "k" => Step::Item(parse().as_object().cloned().unwrap_or_default()),
            _ => Step::Value(parse()),
        });
        collect(inner, path, all);
        path.pop();
    }
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Item(keys) => write!(f, "[{}]", Value::Object(keys.clone()))?,
                Step::Value(value) => write!(f, "[{value}]")?,
            }
        }
        Ok(())
    }
}

#[test]
fn each_applied_field_is_found_and_changed() {
    let fields = json!({
        "f:metadata": { "f:labels": { "f:a": {} } },
        "f:spec": { "f:ports": { "k:{\"port\":80}": { ".": {}, "f:name": {} } }, "f:hosts": { "v:\"x\"": {} } },
    });
    let object = json!({
        "metadata": { "labels": { "a": "word" }, "managedFields": [
            { "manager": "berth-operator", "operation": "Apply", "fieldsV1": fields },
            { "manager": "somebody", "operation": "Apply", "fieldsV1": { "f:data": {} } },
        ] },
        "spec": { "ports": [{ "port": 80, "name": "http" }], "hosts": ["x", "y"] },
    });
    let mut all = Field::applied(&object);
    all.sort_by_key(Field::to_string);
    let names: Vec<String> = all.iter().map(Field::to_string).collect();
    assert_eq!(
        names,
        [
            ".metadata.labels.a",
            ".spec.hosts[\"x\"]",
            ".spec.ports[{\"port\":80}].name"
        ]
    );
    let mut changed = object.clone();
    assert!(all[0].other_value(&mut changed) && all[1].removed(&mut changed) && all[2].removed(&mut changed));
    assert_eq!(
        all[0].value(&changed),
        Some(json!("b3RoZXI=")),
        "a word of four letters is Base64"
    );
    assert_eq!(
        changed["spec"],
        json!({ "ports": [{ "port": 80 }], "hosts": ["y"] })
    );
}
