//! The reference page of the resource, generated from the definition.

use std::fmt::Write as _;

use serde_json::Value;

use crate::common::{KEY_RULE, NAME_RULE};
use crate::crd;

/// `docs/reference/registry.md`: every field with its type, default, limits and rules.
///
/// # Panics
/// Never on a build that passes its tests, for the same reason as [`crd`].
pub fn reference_page() -> String {
    let definition = serde_json::to_value(crd()).expect("a generated definition is plain JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut page = String::from(
        "# Registry (`berth.dev/v1alpha1`)\n\n\
         Generated from the types in `operator/api` by `cargo run -p operator -- reference`; do not edit.\n\
         Fields without a default may be left out unless they are marked required. The name of an object is made of\n\
         lower-case letters, digits, dashes and dots, a key of a Secret or ConfigMap of letters, digits, dashes,\n\
         underscores and dots; neither is longer than 253 characters.\n",
    );
    for (part, title) in [("spec", "## spec"), ("status", "## status")] {
        page.push_str(&format!("\n{title}\n"));
        object(&mut page, part, &schema[part]);
    }
    page
}

fn object(page: &mut String, path: &str, schema: &Value) {
    rules(page, schema);
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    page.push_str("\n| Field | Type | Default | Meaning |\n|---|---|---|---|\n");
    for (name, member) in properties {
        let default = match &member["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let description = member["description"]
            .as_str()
            .unwrap_or_default()
            .replace('\n', " ")
            .replace('|', "\\|");
        let _ = writeln!(
            page,
            "| `{name}` | {} | {default} | {description} |",
            type_of(member)
        );
    }
    for (name, member) in properties {
        let (inner, path) = match member["type"].as_str() {
            Some("array") => (&member["items"], format!("{path}.{name}[]")),
            _ => (member, format!("{path}.{name}")),
        };
        rules_of_leaf(page, &path, member, inner);
        if inner["properties"].is_object() && inner["description"].is_string() && !is_kubernetes(&path) {
            let _ = write!(
                page,
                "\n### {path}\n\n{}\n",
                inner["description"].as_str().unwrap_or_default()
            );
            object(page, &path, inner);
        }
    }
}

/// Types that Kubernetes documents itself.
fn is_kubernetes(path: &str) -> bool {
    [
        "spec.pod.resources",
        "spec.pod.tolerations[]",
        "spec.pod.affinity",
        "spec.pod.topologySpreadConstraints[]",
    ]
    .contains(&path)
}

/// The sentences of a schema's rules, without those that the page's head says.
fn sentences(schema: &Value) -> Vec<&str> {
    let rules = schema["x-kubernetes-validations"].as_array();
    let messages = rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["message"].as_str());
    messages
        .filter(|message| ![NAME_RULE, KEY_RULE].contains(message))
        .collect()
}

fn rules(page: &mut String, schema: &Value) {
    let sentences = sentences(schema);
    for sentence in &sentences {
        let _ = write!(page, "\n- {sentence}");
    }
    if !sentences.is_empty() {
        page.push('\n');
    }
}

fn rules_of_leaf(page: &mut String, path: &str, member: &Value, inner: &Value) {
    if !std::ptr::eq(member, inner) || !member["properties"].is_object() {
        if !sentences(member).is_empty() {
            let _ = write!(page, "\nRules of `{path}`:\n");
        }
        rules(page, member);
    }
}

fn type_of(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", type_of(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map to {}", type_of(&schema["additionalProperties"]))
        }
        Some(kind) => match schema["format"].as_str() {
            Some(format) => format!("{kind} ({format})"),
            None => kind.to_owned(),
        },
        None => "integer or string".to_owned(),
    }
}
