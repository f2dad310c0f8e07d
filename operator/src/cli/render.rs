//! `operator render`: prints the objects that a Registry becomes, without a cluster.
//!
//! Guarantees: the same steps as in a reconcile make the objects; nothing of a Secret is printed; everything that is
//! wrong is told at once. Must not: talk to the API server. Start at [`render`].

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use kube::api::DynamicObject;
use operator_api::Registry;
use serde_json::{Value, json};

use super::output::print;
use super::values::{namespace_name, object_name};
use crate::error::{Error, Problems};
use crate::fault::chain;
use crate::issue::{self, StoredSecrets};
use crate::optional::{OptionalKind, OptionalObjects};
use crate::read::Facts;
use crate::references::Named;
use crate::settings::Settings;
use crate::subject::Subject;
use crate::{build, validate};

/// Arguments of `operator render`.
#[derive(Debug, Args)]
pub(super) struct Render {
    /// A YAML file with Registries, and with the Secrets, ConfigMaps and claims that they name; `-` is standard input. May be
    /// given several times. Other objects are passed over.
    #[arg(long = "filename", short = 'f', required = true)]
    files: Vec<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(long, short = 'n', default_value = "default", value_parser = namespace_name)]
    namespace: String,
    /// The server's image for Registries that name none.
    #[arg(long, env = "BERTH_REGISTRY_IMAGE", default_value_t = Settings::default().registry_image)]
    registry_image: String,
}

/// Prints the objects of every Registry in the files. What is wrong goes to standard error, and makes the exit code 1; the
/// objects of the parts that are right are printed all the same.
pub(super) fn render(arguments: &Render) -> anyhow::Result<ExitCode> {
    let mut objects = Vec::new();
    for file in &arguments.files {
        objects.extend(parse(file, &arguments.namespace)?);
    }
    let settings = Settings {
        registry_image: arguments.registry_image.clone(),
        ..Settings::default()
    };
    let (registries, others): (Vec<Value>, Vec<Value>) = objects
        .into_iter()
        .partition(|object| object["kind"] == "Registry");
    if registries.is_empty() {
        bail!("no file has a Registry (kind: Registry)");
    }
    let mut texts = Vec::new();
    let mut is_right = true;
    for object in registries {
        let rendered = one(object, &others, &settings)?;
        for line in &rendered.notes {
            eprintln!("{line}");
        }
        is_right &= rendered.is_right;
        texts.push(rendered.text);
    }
    texts.retain(|text| !text.is_empty());
    print(&texts.join("---\n"))?;
    Ok(match is_right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// One Registry's objects, and what there is to say about it.
struct Rendered {
    text: String,
    notes: Vec<String>,
    is_right: bool,
}

/// The objects of a file, each with a namespace.
fn parse(file: &Path, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let name = file.display();
    let text = match file.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(file),
    };
    let text = text.with_context(|| format!("cannot read `{name}`"))?;
    let mut objects: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("`{name}` is no YAML"))?;
    // A document of comments only is empty.
    objects.retain(Value::is_object);
    for object in &mut objects {
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(namespace);
        }
    }
    Ok(objects)
}

fn one(mut object: Value, others: &[Value], settings: &Settings) -> anyhow::Result<Rendered> {
    let named = object["metadata"]["name"].as_str().unwrap_or_default();
    let name = object_name(named)
        .map_err(anyhow::Error::msg)
        .context("a Registry without a usable metadata.name")?;
    let namespace = object["metadata"]["namespace"].clone();
    // The API server gives these; owner references name the uid.
    object["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    object["metadata"]["generation"] = json!(1);
    let spec = object["spec"].clone();
    let registry: Registry = serde_path_to_error::deserialize(object)
        .map_err(|error| anyhow::anyhow!("`{}` cannot be read: {}", error.path(), error.inner()))
        .with_context(|| format!("Registry `{name}`"))?;
    let subject = Subject::of(&registry.metadata);
    let mut unknown = Vec::new();
    unknown_fields(&spec, &spec_schema()?, "spec", &mut unknown);
    let mut facts = Facts::of_empty_namespace(Named::of(&registry.spec), Timestamp::now());
    facts.optional = OptionalObjects(OptionalKind::ALL.map(|kind| (kind, None)).into());
    for other in others
        .iter()
        .filter(|other| other["metadata"]["namespace"] == namespace)
    {
        let what = format!("{} {}", other["kind"], other["metadata"]["name"]);
        facts
            .add(other.clone())
            .with_context(|| format!("{what} cannot be read"))?;
    }

    let (validated, invalid) = validate::registry(&registry, &subject, &facts, settings);
    let mut problems = Problems::default();
    problems.extend(invalid);
    let stored = StoredSecrets::of(&facts.existing);
    let issued = problems.collect(issue::secrets(&validated.issue, stored, facts.now));
    let text = match &issued {
        Some(issued) => {
            let optional = build::optional_of_the_spec(&validated);
            let optional: Vec<DynamicObject> = optional.into_iter().map(|(_, object)| object).collect();
            build::documents(&build::children_of_the_spec(&validated, issued), &optional)?
        }
        None => String::new(),
    };
    let sentences = problems.iter().map(|problem| sentence(&name, problem));
    let unknown = unknown.iter().map(|path| {
        format!(
            "error: Registry `{name}`: `{path}` is no field of a Registry (`kubectl explain registry.spec`)"
        )
    });
    let is_right = problems.first().is_none() && unknown.len() == 0;
    let sentences = unknown.chain(sentences);
    let notes = validated
        .notes
        .iter()
        .map(|note| format!("Registry `{name}`: {note}"));
    Ok(Rendered {
        text,
        notes: sentences.chain(notes).collect(),
        is_right,
    })
}

/// The schema of `spec`.
fn spec_schema() -> anyhow::Result<Value> {
    let definition = serde_json::to_value(operator_api::crd())?;
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    Ok(schema.cloned().unwrap_or_default())
}

/// The fields of `value` that its schema does not have. The API server refuses or removes them.
fn unknown_fields(value: &Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
            for (name, member) in members {
                let known = schema["properties"]
                    .get(name)
                    .or(schema.get("additionalProperties"));
                let path = format!("{path}.{name}");
                match known {
                    Some(known) => unknown_fields(member, known, &path, unknown),
                    None if is_open => {}
                    None => unknown.push(path),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                unknown_fields(item, &schema["items"], &format!("{path}[{at}]"), unknown);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The problem and the way out.
fn sentence(name: &str, problem: &Error) -> String {
    let hint = problem
        .hint()
        .map(|hint| format!(" ({hint})"))
        .unwrap_or_default();
    format!("error: Registry `{name}`: {}{hint}", chain(problem))
}

#[cfg(test)]
mod tests;
