//! The definition accepts nothing that the types cannot hold.

use regex::Regex;
use serde_json::{Map, Value, json};

use super::crd;
use crate::Registry;

fn schema() -> Value {
    let definition = serde_json::to_value(crd()).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` for each schema below `schema`, with its path.
fn each(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    if let Some(items) = schema.get("items") {
        each(items, &format!("{path}[]"), visit);
    }
    if let Some(values) = schema.get("additionalProperties") {
        each(values, &format!("{path}{{}}"), visit);
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        each(member, &format!("{path}.{name}"), visit);
    }
}

/// The smallest value of a schema.
fn least(schema: &Value) -> Value {
    if schema["type"] == "object" {
        let required = schema["required"].as_array().into_iter().flatten();
        let members = required.filter_map(Value::as_str).map(|name| {
            let member = &schema["properties"][name];
            (name.to_owned(), least(member))
        });
        return Value::Object(members.collect::<Map<_, _>>());
    }
    samples(schema).into_iter().next().unwrap_or(Value::Null)
}

/// Values that a schema accepts, those at its limits among them.
fn samples(schema: &Value) -> Vec<Value> {
    if let Some(values) = schema["enum"].as_array() {
        return values.clone();
    }
    match schema["type"].as_str() {
        Some("string") => strings(schema),
        Some("integer") => ["minimum", "maximum"]
            .map(|limit| json!(schema[limit].as_f64().unwrap() as i64))
            .into(),
        Some("boolean") => vec![json!(true), json!(false)],
        Some("array") => vec![json!([])],
        Some("object") if schema["x-kubernetes-preserve-unknown-fields"] == true => {
            vec![
                json!({}),
                json!({ "a": [1, 1.5, "b", null, { "c": {} }], "d": u64::MAX }),
            ]
        }
        Some("object") => vec![least(schema)],
        None if schema["x-kubernetes-int-or-string"] == true => {
            let mut all = strings(schema);
            all.extend([json!(i64::MIN), json!(i64::MAX), json!(1e20)]);
            all
        }
        _ => panic!("a schema without a type: {schema}"),
    }
}

fn strings(schema: &Value) -> Vec<Value> {
    let texts = [
        "",
        "a",
        "A",
        "0",
        "5Gi",
        "+1.5e-9",
        ".5n",
        "0ms",
        "1h",
        "0.000000001ms999999999.999999999h",
        "999999999h999999999h999999999h",
        "0001-01-01T00:00:00Z",
        "2026-12-31T23:59:59.999999999Z",
        "9998-12-31T23:59:59Z",
        "\u{e9}\u{1f40b}\u{0}\"\\",
        "users?x=1#a",
    ];
    let length = |limit: &str| {
        schema[limit]
            .as_u64()
            .map(|limit| usize::try_from(limit).unwrap())
    };
    let most = length("maxLength").unwrap_or(100);
    let pattern = schema["pattern"].as_str().map(|text| Regex::new(text).unwrap());
    let accepted = |text: &String| {
        let count = text.chars().count();
        count <= most
            && count >= length("minLength").unwrap_or(0)
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
            && (schema["format"] != "date-time" || text.contains('T'))
    };
    let long = ["a", "9"].map(|letter| letter.repeat(most));
    let all = texts.into_iter().map(str::to_owned).chain(long);
    all.filter(accepted).map(Value::String).collect()
}

/// Parses a Registry for each sample of each schema below `schema`. `build` makes an object from a part of it.
fn parse_all(schema: &Value, path: &str, build: &dyn Fn(Value) -> Value, failures: &mut Vec<String>) {
    let samples = samples(schema);
    if samples.is_empty() {
        failures.push(format!("{path}: the test has no sample"));
    }
    for sample in samples {
        if let Err(error) = serde_json::from_value::<Registry>(build(sample.clone())) {
            failures.push(format!(
                "{path}: {sample} is accepted and cannot be parsed: {error}"
            ));
        }
    }
    if let Some(items) = schema.get("items") {
        parse_all(
            items,
            &format!("{path}[]"),
            &|part| build(json!([part])),
            failures,
        );
    }
    if let Some(values) = schema.get("additionalProperties") {
        let build = |part| build(json!({ "key": part }));
        parse_all(values, &format!("{path}{{}}"), &build, failures);
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let build = |part| {
            let mut object = least(schema);
            object[name] = part;
            build(object)
        };
        parse_all(member, &format!("{path}.{name}"), &build, failures);
    }
}

#[test]
fn everything_that_the_schema_accepts_can_be_parsed() {
    let schema = schema();
    let mut failures = Vec::new();
    for part in ["spec", "status"] {
        let build = |value: Value| {
            let mut object = json!({
                "apiVersion": "berth.dev/v1alpha1",
                "kind": "Registry",
                "metadata": { "name": "harbour" },
                "spec": least(&schema["properties"]["spec"]),
            });
            object[part] = value;
            object
        };
        parse_all(&schema["properties"][part], part, &build, &mut failures);
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_field_of_the_spec_has_a_limit() {
    let mut missing = Vec::new();
    each(&schema()["properties"]["spec"], "spec", &mut |path, schema| {
        let has = |limit: &str| !schema[limit].is_null();
        let limited = match schema["type"].as_str() {
            Some("integer") => has("minimum") && has("maximum"),
            Some("array") => has("maxItems"),
            Some("string") => has("maxLength") || has("enum"),
            Some("object") => !has("additionalProperties") || has("maxProperties"),
            None => has("pattern") && has("maxLength"),
            _ => true,
        };
        if !limited {
            missing.push(path.to_owned());
        }
    });
    assert!(missing.is_empty(), "without a limit:\n{}", missing.join("\n"));
}

#[test]
fn every_field_is_described() {
    let mut missing = Vec::new();
    each(&schema(), "", &mut |path, schema| {
        let own = !path.ends_with("[]") && !path.ends_with("{}");
        // Kubernetes describes these for every kind.
        let common = ["", ".apiVersion", ".kind", ".metadata"].contains(&path);
        if own && !common && schema["description"].as_str().is_none_or(str::is_empty) {
            missing.push(path.to_owned());
        }
    });
    assert!(
        missing.is_empty(),
        "without a description:\n{}",
        missing.join("\n")
    );
}

#[test]
fn defaults_are_in_the_schema() {
    let schema = schema();
    let spec = &schema["properties"]["spec"]["properties"];
    for (path, expected) in [
        ("/replicas", json!(1)),
        ("/service", json!({})),
        ("/service/properties/port", json!(5000)),
        ("/log/properties/level", json!("Info")),
        ("/http/properties/drainTimeout", json!("60s")),
        ("/image/properties/pullPolicy", json!("IfNotPresent")),
        ("/tls/properties/selfSigned/properties/duration", json!("8760h")),
    ] {
        let got = spec.pointer(path).map(|field| &field["default"]);
        assert_eq!(got, Some(&expected), "{path}");
    }
}

#[test]
fn a_paragraph_of_a_description_is_one_line() {
    let mut broken = Vec::new();
    each(&schema(), "", &mut |path, schema| {
        let text = schema["description"].as_str().unwrap_or_default();
        let own = !path.starts_with(".spec.pod.") && !path.starts_with(".spec.networkPolicy.");
        if own && text.split("\n\n").any(|paragraph| paragraph.contains('\n')) {
            broken.push(path.to_owned());
        }
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
