//! The chart on a real API server: installed, upgraded, removed and installed again by both Helms.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use e2e::apiserver::ApiServer;
use e2e::exec::Exec;
use e2e::packaging::package_chart;
use e2e::tools::Tool;
use serde_json::{Value, json};

use crate::tools::{chart, helm, program};

const RELEASE: [&str; 2] = ["berth-operator", "--namespace=berth-system"];

/// An API server, and the commands that talk to it.
struct Installation {
    server: ApiServer,
    kubectl: Exec,
}

impl Installation {
    async fn start() -> Result<Self> {
        let server = ApiServer::start().await?;
        let kubectl = Exec::new(program(Tool::Kubernetes).await?)
            .arg("kubectl")
            .arg(format!("--kubeconfig={}", server.kubeconfig().display()));
        Ok(Self { server, kubectl })
    }

    async fn helm(&self, tool: Tool, command: &str) -> Result<Exec> {
        Ok(helm(tool)
            .await?
            .args([command])
            .args(RELEASE)
            .arg(format!("--kubeconfig={}", self.server.kubeconfig().display())))
    }

    async fn install(&self, tool: Tool, chart: &Path) -> Result<Exec> {
        Ok(self
            .helm(tool, "install")
            .await?
            .arg(chart)
            .arg("--create-namespace"))
    }

    async fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl
            .clone()
            .args(["apply", "--server-side", "--filename", "-"])
            .stdin(object.to_string())
            .success()
            .await
            .map(drop)
    }

    async fn get(&self, what: &[&str]) -> Result<Option<Value>> {
        let done = self
            .kubectl
            .clone()
            .args(["get", "--ignore-not-found", "--output=json"])
            .args(what)
            .success()
            .await?;
        if done.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&done)?))
    }

    /// The description of the definition's version, by which an old definition differs from the current one here.
    async fn description(&self) -> Result<String> {
        let definition = self.get(&["crd", "registries.berth.dev"]).await?;
        let definition = definition.context("there is no definition")?;
        let text = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"];
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    async fn deployment(&self) -> Result<Option<Value>> {
        self.get(&["deployment", "berth-operator", RELEASE[1]]).await
    }
}

/// The packed chart as an older release might have been: its definition has another description.
async fn older_chart(tool: Tool, folder: &Path) -> Result<std::path::PathBuf> {
    package_chart(&program(tool).await?, None, folder).await?;
    let unpacked = folder.join("old");
    fs::create_dir(&unpacked)?;
    Exec::new("tar")
        .args(["--extract", "--gzip", "--directory"])
        .arg(&unpacked)
        .arg("--file")
        .arg(folder.join(format!("berth-operator-{}.tgz", e2e::packaging::VERSION)))
        .success()
        .await?;
    let chart = unpacked.join("berth-operator");
    let file = chart.join("files/berth.dev_registries.yaml");
    let (text, now) = (fs::read_to_string(&file)?, current_description()?);
    assert!(text.contains(&now), "the definition has not its own description");
    fs::write(&file, text.replace(&now, "Of an older release."))?;
    Ok(chart)
}

fn current_description() -> Result<String> {
    let file = chart().join("files/berth.dev_registries.yaml");
    let definition: Value = serde_saphyr::from_str(&fs::read_to_string(file)?)?;
    let text = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"];
    Ok(text
        .as_str()
        .context("the definition has no description")?
        .to_owned())
}

fn registry() -> Value {
    json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
        "metadata": {"name": "harbour", "namespace": "default"},
        "spec": {"storage": {"emptyDir": {}}, "auth": {"anonymous": {"access": "Pull"}}},
    })
}

/// Installs the older chart with one Helm, upgrades it with another, removes it and installs it again.
async fn installed_upgraded_and_removed(first: Tool, then: Tool) -> Result<()> {
    let on = Installation::start().await?;
    let folder = tempfile::tempdir()?;
    let old = older_chart(first, folder.path()).await?;
    on.install(first, &old).await?.success().await?;
    assert_eq!(on.description().await?, "Of an older release.");
    on.kubectl
        .clone()
        .args([
            "wait",
            "--for=condition=Established",
            "crd/registries.berth.dev",
            "--timeout=60s",
        ])
        .success()
        .await?;
    on.apply(&registry()).await?;

    let upgrade = on.helm(then, "upgrade").await?.arg(chart());
    upgrade.args(["--set", "log=operator=debug"]).success().await?;
    assert_eq!(
        on.description().await?,
        current_description()?,
        "Helm did not upgrade the definition"
    );
    let deployment = on.deployment().await?.context("there is no Deployment")?;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert!(
        container["args"]
            .as_array()
            .is_some_and(|args| args.contains(&json!("--log=operator=debug"))),
        "{container}"
    );

    on.helm(then, "uninstall").await?.success().await?;
    assert_eq!(on.deployment().await?, None);
    let kept = on.get(&["registry", "harbour", "--namespace=default"]).await?;
    assert!(kept.is_some(), "`helm uninstall` deleted the Registries");

    // The definition that stayed is taken back.
    on.install(then, &chart()).await?.success().await?;
    assert!(on.deployment().await?.is_some());
    Ok(())
}

#[tokio::test]
async fn helm_3_upgrades_the_definition_and_keeps_registries_when_it_goes() -> Result<()> {
    installed_upgraded_and_removed(Tool::Helm3, Tool::Helm3).await
}

#[tokio::test]
async fn helm_4_upgrades_a_release_of_helm_3_and_keeps_registries_when_it_goes() -> Result<()> {
    installed_upgraded_and_removed(Tool::Helm3, Tool::Helm4).await
}

#[tokio::test]
async fn helm_4_upgrades_the_definition_and_keeps_registries_when_it_goes() -> Result<()> {
    installed_upgraded_and_removed(Tool::Helm4, Tool::Helm4).await
}

#[tokio::test]
async fn an_installation_by_kubectl_is_taken_over_when_that_is_asked_for() -> Result<()> {
    for tool in [Tool::Helm3, Tool::Helm4] {
        let on = Installation::start().await?;
        let text = e2e::packaging::install_manifest(&program(Tool::Kustomize).await?, None).await?;
        on.kubectl
            .clone()
            .args(["apply", "--server-side", "--filename", "-"])
            .stdin(text)
            .success()
            .await?;
        let refused = on.install(tool, &chart()).await?.output().await?;
        assert!(
            !refused.status.success(),
            "{tool:?} took over without being asked"
        );
        assert!(
            refused.stderr.contains("invalid ownership metadata"),
            "{tool:?}: {}",
            refused.stderr
        );
        // The Deployment's selector cannot be changed: docs/install.md says to delete it first.
        on.kubectl
            .clone()
            .args(["delete", "deployment", "berth-operator", RELEASE[1]])
            .success()
            .await?;
        let mut install = on.install(tool, &chart()).await?.arg("--take-ownership");
        if tool == Tool::Helm4 {
            // Helm 4 applies on the server, where kubectl's fields are another's.
            install = install.arg("--force-conflicts");
        }
        install.success().await?;
        let deployment = on.deployment().await?.context("there is no Deployment")?;
        assert_eq!(
            deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm",
            "{tool:?}"
        );
    }
    Ok(())
}
