//! The bundle for OLM, checked by its own validation.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use e2e::exec::Exec;
use e2e::packaging::{VERSION, write_bundle};
use e2e::tools::Tool;
use serde_json::Value;

use crate::tools::{differences, kustomized, one, program, released_images};

const SERVICE_VERSION: &str = "manifests/berth-operator.clusterserviceversion.yaml";

/// The output of the validation, which ends with 0 whatever it finds.
async fn complaints(bundle: &Path) -> Result<String> {
    let done = Exec::new(program(Tool::OperatorVerify).await?)
        .args(["manifests", "--object_validate"])
        .arg(bundle)
        .output()
        .await?;
    anyhow::ensure!(done.status.success(), "{}", done.all());
    Ok(done.all())
}

fn yaml(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(serde_saphyr::from_str(&text)?)
}

#[tokio::test]
async fn the_bundle_has_no_errors_and_no_warnings() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    write_bundle(&kustomized().await?, &released_images(), &bundle)?;
    assert_eq!(complaints(&bundle).await?, "");

    // The same check finds what is wrong.
    let file = bundle.join(SERVICE_VERSION);
    let text = fs::read_to_string(&file)?;
    fs::write(
        &file,
        text.replace("name: registries.berth.dev", "name: registries.harbour.example"),
    )?;
    let said = complaints(&bundle).await?;
    assert!(
        said.contains("level=error") && said.contains("owned CRD"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn the_bundle_gives_the_rights_and_the_deployment_of_kustomize() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    let (objects, images) = (kustomized().await?, released_images());
    write_bundle(&objects, &images, &bundle)?;
    let version = yaml(&bundle.join(SERVICE_VERSION))?;
    assert_eq!(version["spec"]["version"], VERSION);
    let install = &version["spec"]["install"]["spec"];
    let role = one(&objects, "ClusterRole", "berth-operator")["rules"]
        .as_array()
        .cloned();
    let election = one(&objects, "Role", "berth-operator-leader-election")["rules"]
        .as_array()
        .cloned();
    let (cluster, namespaced) = (
        &install["clusterPermissions"][0]["rules"],
        &install["permissions"][0]["rules"],
    );
    for rule in role.iter().chain(&election).flatten() {
        // Rights outside of the namespaces that OLM was asked for are as few as can be.
        let is_cluster_wide = rule["resources"] == serde_json::json!(["storageclasses"]);
        let there = |rules: &Value| rules.as_array().is_some_and(|rules| rules.contains(rule));
        assert_eq!(
            (there(cluster), there(namespaced)),
            (is_cluster_wide, !is_cluster_wide),
            "{rule}"
        );
    }
    let deployment = one(&objects, "Deployment", "berth-operator");
    let pod = &install["deployments"][0]["spec"]["template"]["spec"];
    assert_eq!(
        pod["securityContext"],
        deployment["spec"]["template"]["spec"]["securityContext"]
    );
    assert_eq!(pod["containers"][0]["image"], images.operator.to_string());
    let follows = serde_json::json!({
        "name": "BERTH_NAMESPACES",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['olm.targetNamespaces']"}},
    });
    let variables = pod["containers"][0]["env"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(variables.contains(&follows), "{variables:?}");
    let definition = yaml(&bundle.join("manifests/registries.berth.dev_customresourcedefinition.yaml"))?;
    let expected = one(&objects, "CustomResourceDefinition", "registries.berth.dev");
    assert_eq!(differences(expected, &definition), Vec::<String>::new());
    // The same labels twice: in the image, and in the file that tools read.
    let annotations = yaml(&bundle.join("metadata/annotations.yaml"))?;
    let dockerfile = fs::read_to_string(bundle.join("Dockerfile"))?;
    for (key, value) in annotations["annotations"].as_object().context("no annotations")? {
        let label = format!("{key}={}", value.as_str().unwrap_or_default());
        assert!(dockerfile.contains(&label), "the Dockerfile has no `{label}`");
    }
    Ok(())
}
