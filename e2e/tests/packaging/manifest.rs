//! `install.yaml` of a release.

use anyhow::Result;
use e2e::apiserver::ApiServer;
use e2e::exec::Exec;
use e2e::packaging::install_manifest;
use e2e::tools::Tool;

use crate::tools::{kustomized, names, objects, one, program, released_images};

#[tokio::test]
async fn one_file_installs_everything_with_images_by_digest() -> Result<()> {
    let images = released_images();
    let text = install_manifest(&program(Tool::Kustomize).await?, Some(&images)).await?;
    let installed = objects(&text)?;
    assert_eq!(names(&installed), names(&kustomized().await?));
    let container =
        &one(&installed, "Deployment", "berth-operator")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], images.operator.to_string());
    let variables = container["env"].as_array().cloned().unwrap_or_default();
    let registry = serde_json::json!({"name": "BERTH_REGISTRY_IMAGE", "value": images.registry.to_string()});
    assert!(variables.contains(&registry), "{variables:?}");
    assert!(
        !text.contains("image: berth/"),
        "an image without its registry is left"
    );

    // An empty API server takes the file in one go.
    let server = ApiServer::start().await?;
    let kubectl = Exec::new(program(Tool::Kubernetes).await?)
        .arg("kubectl")
        .arg(format!("--kubeconfig={}", server.kubeconfig().display()));
    let apply = kubectl
        .args(["apply", "--server-side", "--filename", "-"])
        .stdin(text);
    for time in ["first", "again"] {
        let said = apply.success().await?;
        assert_eq!(said.lines().count(), installed.len(), "{time}:\n{said}");
    }
    Ok(())
}
