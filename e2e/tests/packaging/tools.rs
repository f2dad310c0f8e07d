//! The programs, the sources, and objects to compare.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use e2e::cache::Cache;
use e2e::exec::Exec;
use e2e::images::checkout;
use e2e::packaging::{Images, default_objects};
use e2e::tools::Tool;
use serde_json::{Map, Value};

pub(crate) async fn program(tool: Tool) -> Result<PathBuf> {
    tool.path(&Cache::open()?, |what| eprintln!("{what}")).await
}

/// Helm, with nothing of the reader's own settings.
pub(crate) async fn helm(tool: Tool) -> Result<Exec> {
    let home = std::env::temp_dir().join("berth-no-helm-settings");
    Ok(Exec::new(program(tool).await?)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .env_remove("KUBECONFIG"))
}

pub(crate) fn chart() -> PathBuf {
    checkout().join("charts/berth-operator")
}

pub(crate) fn values(name: &str) -> String {
    chart()
        .join(format!("ci/{name}-values.yaml"))
        .display()
        .to_string()
}

/// Images as a release has them.
pub(crate) fn released_images() -> Images {
    let image = |name: &str, digit: &str| format!("ghcr.io/example/{name}@sha256:{}", digit.repeat(64));
    Images {
        operator: image("operator", "a").parse().expect("an image by digest"),
        registry: image("registry", "b").parse().expect("an image by digest"),
    }
}

/// The objects of `config/default`.
pub(crate) async fn kustomized() -> Result<Vec<Value>> {
    default_objects(&program(Tool::Kustomize).await?).await
}

/// The objects of a YAML text with several documents.
pub(crate) fn objects(text: &str) -> Result<Vec<Value>> {
    text.trim_start_matches("---\n")
        .split("\n---\n")
        .map(|document| {
            serde_saphyr::from_str(document).with_context(|| format!("this is no YAML:\n{document}"))
        })
        .collect()
}

/// The one object of that kind and name.
#[track_caller]
pub(crate) fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .collect();
    assert_eq!(found.len(), 1, "{kind} `{name}` among {:?}", names(objects));
    found[0]
}

/// Kind and name of each, sorted.
pub(crate) fn names(objects: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut names: Vec<String> = objects
        .iter()
        .map(|object| format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"])))
        .collect();
    names.sort();
    names
}

/// Every place in which two objects differ, a line each. `64` and `64.0` are the same number: kustomize writes the one
/// for the other.
pub(crate) fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", expected, got, &mut lines);
    lines
}

fn compare(path: &str, expected: &Value, got: &Value, lines: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let keys: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            for key in keys {
                let member = |object: &Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                compare(&format!("{path}/{key}"), &member(expected), &member(got), lines);
            }
        }
        (Value::Array(expected), Value::Array(got)) if expected.len() == got.len() => {
            for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
                compare(&format!("{path}/{index}"), expected, got, lines);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        _ if expected == got => {}
        _ => lines.push(format!("{path}\n  expected: {expected}\n  got: {got}")),
    }
}
