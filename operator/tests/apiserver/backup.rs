//! The commands of `docs/backup.md`, as a person would paste them.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::cache::Cache;
use e2e::tools::Tool;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::DeleteParams;
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::objects::gone;
use crate::operator::{Operator, create, merge, registry, rolling_out};

/// The shell commands of the page below a heading.
fn commands(heading: &str) -> Result<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backup.md");
    let page = std::fs::read_to_string(page)?;
    let (_, section) = page
        .split_once(&format!("\n## {heading}\n"))
        .with_context(|| format!("no section {heading}"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1);
    let commands: Vec<_> = blocks.filter_map(|block| block.split("```").next()).collect();
    ensure!(!commands.is_empty(), "no commands below {heading}");
    Ok(commands.join("\n"))
}

/// Runs commands in `folder`, for the test's namespace. Nothing waits for deleted claims, which a controller that is not
/// here lets go.
async fn run(cluster: &Cluster, folder: &Path, commands: &str) -> Result<String> {
    let program = Tool::Kubernetes
        .path(&Cache::open()?, |what| eprintln!("{what}"))
        .await?;
    let commands = commands.replace("-n ci ", &format!("-n {} ", cluster.namespace));
    let script = format!(
        "set -euo pipefail\nkubectl() {{\n\
         case \" $* \" in *' delete '*) set -- \"$@\" --wait=false;; esac\n\
         '{}' kubectl \"$@\"\n}}\n{commands}",
        program.display()
    );
    let output = tokio::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder)
        .env("KUBECONFIG", cluster.server.kubeconfig())
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}\n{errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn keys_are_backed_up_purged_and_restored_by_the_commands_of_the_page() -> Result<()> {
    let cluster = Cluster::with_namespace("backup-keys").await?;
    let _operator = Operator::start(&cluster);
    create(&cluster, &registry("registry", json!({}))).await?;
    rolling_out(&cluster, "registry").await?;
    let folder = tempfile::tempdir()?;
    let keys = async || -> Result<_> {
        let secrets = cluster.api::<Secret>();
        Ok((
            secrets.get("registry-http").await?.data,
            secrets.get("registry-ca-key").await?.data,
        ))
    };
    let before = keys().await?;
    run(&cluster, folder.path(), &commands("Back up")?).await?;

    let registries = cluster.api::<Registry>();
    registries.delete("registry", &DeleteParams::default()).await?;
    gone::<Registry>(&cluster, "registry").await?;
    let listed = run(&cluster, folder.path(), &commands("Purge")?).await?;
    for name in ["registry-http", "registry-ca-key", "registry-data"] {
        assert!(
            listed.contains(name),
            "`{name}` is not listed before it is deleted:\n{listed}"
        );
    }
    gone::<Secret>(&cluster, "registry-http").await?;
    gone::<Secret>(&cluster, "registry-ca-key").await?;
    let let_go = json!({ "metadata": { "finalizers": null } });
    merge::<PersistentVolumeClaim>(&cluster, "registry-data", let_go).await?;
    gone::<PersistentVolumeClaim>(&cluster, "registry-data").await?;

    run(&cluster, folder.path(), &commands("Restore")?).await?;
    create(&cluster, &registry("registry", json!({}))).await?;
    rolling_out(&cluster, "registry").await?;
    assert!(keys().await? == before, "the keys were made anew");
    Ok(())
}
