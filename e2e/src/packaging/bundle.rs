//! The bundle for the Operator Lifecycle Manager: `bundle/` of the checkout holds what people wrote, the rest comes from
//! the objects of `config/default`.
//!
//! Guarantees: the rights and the Deployment are those of `config/default`, none is written twice. Start at
//! [`write_bundle`].

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Images, VERSION};
use crate::images::checkout;

/// The account that the operator's Pods have.
const ACCOUNT: &str = "berth-operator";

/// Resources of the operator's rules that are in no namespace.
const CLUSTER_WIDE: [&str; 1] = ["storageclasses"];

/// Writes the bundle's folder: `manifests/`, `metadata/` and a Dockerfile.
///
/// # Errors
/// The objects have not what a bundle needs, or a file cannot be written.
pub fn write_bundle(objects: &[Value], images: &Images, folder: &Path) -> Result<()> {
    let source = checkout().join("bundle");
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove `{}`", folder.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let (manifests, metadata) = (folder.join("manifests"), folder.join("metadata"));
    for made in [&manifests, &metadata] {
        fs::create_dir_all(made).with_context(|| format!("cannot create `{}`", made.display()))?;
    }
    for (from, to) in [
        ("annotations.yaml", metadata.join("annotations.yaml")),
        ("Dockerfile", folder.join("Dockerfile")),
    ] {
        fs::copy(source.join(from), &to).with_context(|| format!("cannot copy `bundle/{from}`"))?;
    }
    let base = fs::read_to_string(source.join("clusterserviceversion.yaml"))
        .context("cannot read `bundle/clusterserviceversion.yaml`")?;
    let base = serde_saphyr::from_str(&base).context("cannot parse `bundle/clusterserviceversion.yaml`")?;
    write(
        &manifests.join("berth-operator.clusterserviceversion.yaml"),
        &service_version(base, objects, images)?,
    )?;
    for object in objects.iter().filter(|object| belongs_in_manifests(object)) {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            // OLM decides on the namespace.
            metadata.remove("namespace");
        }
        let name = format!(
            "{}_{}.yaml",
            text(&object, "/metadata/name")?,
            text(&object, "/kind")?.to_lowercase()
        );
        write(&manifests.join(name), &object)?;
    }
    Ok(())
}

/// Whether OLM applies the object itself. It makes the namespace, the account, the Deployment and the account's rights
/// from the ClusterServiceVersion.
fn belongs_in_manifests(object: &Value) -> bool {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    match object["kind"].as_str().unwrap_or_default() {
        "Namespace" | "ServiceAccount" | "Deployment" | "ClusterRoleBinding" | "RoleBinding" | "Role" => {
            false
        }
        // The others are for people.
        "ClusterRole" => name != Some(ACCOUNT),
        _ => true,
    }
}

fn service_version(mut base: Value, objects: &[Value], images: &Images) -> Result<Value> {
    let definition = one(objects, "CustomResourceDefinition", "registries.berth.dev")?;
    let mut deployment = one(objects, "Deployment", ACCOUNT)?.clone();
    let container = deployment
        .pointer_mut("/spec/template/spec/containers/0")
        .context("the Deployment has no container")?;
    container["image"] = images.operator.to_string().into();
    let mut env = container["env"].as_array().cloned().unwrap_or_default();
    env.push(json!({"name": "BERTH_REGISTRY_IMAGE", "value": images.registry.to_string()}));
    // OLM writes the namespaces of the OperatorGroup into this annotation, and nothing when it is meant for all.
    let namespaces = json!({"fieldRef": {"fieldPath": "metadata.annotations['olm.targetNamespaces']"}});
    env.push(json!({"name": "BERTH_NAMESPACES", "valueFrom": namespaces}));
    container["env"] = env.into();

    base["metadata"]["name"] = format!("berth-operator.v{VERSION}").into();
    let annotations = &mut base["metadata"]["annotations"];
    annotations["containerImage"] = images.operator.to_string().into();
    annotations["alm-examples"] = serde_json::to_string_pretty(&[sample()?])?.into();
    let spec = &mut base["spec"];
    spec["version"] = VERSION.into();
    let owned = &mut spec["customresourcedefinitions"]["owned"][0];
    ensure!(
        owned["name"] == definition["metadata"]["name"]
            && owned["kind"] == definition["spec"]["names"]["kind"],
        "`bundle/clusterserviceversion.yaml` owns another definition than that of `crds/`"
    );
    owned["version"] = definition["spec"]["versions"][0]["name"].clone();
    spec["relatedImages"] = json!([
        {"name": "operator", "image": images.operator.to_string()},
        {"name": "registry", "image": images.registry.to_string()},
    ]);
    // OLM binds `permissions` in each namespace of the OperatorGroup and in that of the operator, or in the whole cluster
    // when the OperatorGroup is meant for all; `clusterPermissions` always in the whole cluster.
    let (cluster, namespaced): (Vec<Value>, Vec<Value>) =
        rules(objects)?.into_iter().partition(is_cluster_wide);
    spec["install"] = json!({
        "strategy": "deployment",
        "spec": {
            "clusterPermissions": [{"serviceAccountName": ACCOUNT, "rules": cluster}],
            "permissions": [{"serviceAccountName": ACCOUNT, "rules": namespaced}],
            "deployments": [{
                "name": ACCOUNT,
                "label": deployment["metadata"]["labels"],
                "spec": deployment["spec"],
            }],
        },
    });
    Ok(base)
}

/// The rules of all roles that are bound to the operator's account.
fn rules(objects: &[Value]) -> Result<Vec<Value>> {
    let mut rules = Vec::new();
    for bound in objects {
        if !matches!(bound["kind"].as_str(), Some("ClusterRoleBinding" | "RoleBinding")) {
            continue;
        }
        let subjects = bound["subjects"]
            .as_array()
            .context("a binding without subjects")?;
        ensure!(
            subjects
                .iter()
                .all(|subject| subject["kind"] == "ServiceAccount" && subject["name"] == ACCOUNT),
            "`{}` binds somebody else than the operator",
            text(bound, "/metadata/name")?
        );
        let role = one(
            objects,
            text(bound, "/roleRef/kind")?,
            text(bound, "/roleRef/name")?,
        )?;
        rules.extend(role["rules"].as_array().context("a role without rules")?.clone());
    }
    Ok(rules)
}

/// Whether the rule is about objects that are in no namespace.
fn is_cluster_wide(rule: &Value) -> bool {
    let resources = rule["resources"].as_array().into_iter().flatten();
    resources
        .filter_map(Value::as_str)
        .all(|resource| CLUSTER_WIDE.contains(&resource))
}

fn sample() -> Result<Value> {
    let file = checkout().join("config/samples/registry.yaml");
    let sample = fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    serde_saphyr::from_str(&sample).with_context(|| format!("cannot parse `{}`", file.display()))
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .with_context(|| format!("`config/default` has no {kind} `{name}`"))
}

fn text<'a>(object: &'a Value, path: &str) -> Result<&'a str> {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .with_context(|| format!("an object without `{path}`"))
}

fn write(file: &Path, object: &Value) -> Result<()> {
    let text =
        serde_saphyr::to_string(object).with_context(|| format!("cannot write `{}`", file.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}
