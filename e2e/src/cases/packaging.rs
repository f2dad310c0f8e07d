//! The operator's Helm chart: kept in a Berth registry, and installed from it in place of the manifests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::json;

use super::ready_registry::{ReadyRegistry, same};
use crate::cache::Cache;
use crate::exec::Exec;
use crate::fixture::{self, USER};
use crate::images;
use crate::packaging::{VERSION, package_chart};
use crate::provider::Cluster;
use crate::runner::{Bench, Context};
use crate::server::ServerSetup;
use crate::tools::Tool;
use crate::wait::{Seen, wait_for};

/// The namespace of the operator.
const NAMESPACE: &str = "--namespace=berth-system";
/// Time for an operator to be replaced.
const ROLLOUT: Duration = Duration::from_secs(120);

/// Helm with its settings and logins in a folder of the case.
struct Helm {
    program: PathBuf,
    home: PathBuf,
}

impl Helm {
    async fn of(tool: Tool, dir: &Path) -> Result<Self> {
        Ok(Self {
            program: tool.path(&Cache::open()?, |_| ()).await?,
            home: dir.join(tool.name()),
        })
    }

    fn command(&self) -> Exec {
        Exec::new(&self.program)
            .env("HELM_CACHE_HOME", self.home.join("cache"))
            .env("HELM_CONFIG_HOME", self.home.join("config"))
            .env("HELM_DATA_HOME", self.home.join("data"))
            .env_remove("KUBECONFIG")
    }

    /// With the cluster's credentials, where its names are known.
    fn on(&self, cluster: &Cluster) -> Exec {
        let command = self
            .command()
            .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
            .arg(format!("--kube-context={}", cluster.context()));
        cluster.node(command)
    }
}

/// Helm 3 and Helm 4 push the chart to a server of their own and pull the same archive back.
pub(super) async fn the_chart_goes_round(bench: &Bench<'_>) -> Result<()> {
    let server = ServerSetup::new(&images::server_program(), bench.dir)?
        .start()
        .await?;
    let host = server.base().authority().to_owned();
    let mut digests = Vec::new();
    for tool in [Tool::Helm3, Tool::Helm4] {
        let helm = Helm::of(tool, bench.dir).await?;
        let (packed, pulled) = (bench.dir.join("packed"), bench.dir.join("pulled"));
        for folder in [&packed, &pulled] {
            fs::create_dir_all(folder)?;
        }
        let archive = package_chart(&helm.program, None, &packed).await?;
        let repository = format!("oci://{host}/{}", tool.name());
        let pushed = helm
            .command()
            .arg("push")
            .arg(&archive)
            .args([repository.as_str(), "--plain-http"])
            .output()
            .await?;
        ensure!(pushed.status.success(), "{tool:?} cannot push:\n{}", pushed.all());
        let chart = format!("{repository}/berth-operator");
        helm.command()
            .args([
                "pull",
                &chart,
                "--plain-http",
                "--version",
                VERSION,
                "--destination",
            ])
            .arg(&pulled)
            .success()
            .await?;
        let name = archive.file_name().context("an archive has a name")?;
        ensure!(
            fs::read(&archive)? == fs::read(pulled.join(name))?,
            "{tool:?} pulled another archive than it pushed"
        );
        let shown = helm
            .command()
            .args(["show", "chart", &chart, "--plain-http"])
            .success()
            .await?;
        ensure!(shown.contains("name: berth-operator"), "{tool:?} shows\n{shown}");
        digests.push(
            pushed
                .all()
                .lines()
                .find_map(|line| line.split_once("Digest: ").map(|(_, digest)| digest.to_owned()))
                .with_context(|| format!("{tool:?} tells no digest:\n{}", pushed.all()))?,
        );
    }
    bench.note(format!("the chart as {}", digests.join(" and ")));
    Ok(())
}

/// The operator's manifests are replaced by the chart, which comes from a Registry of that operator; upgraded by both
/// Helms; removed. The Registry serves all the time, with the same Pod.
pub(super) async fn the_chart_takes_over(context: &Context<'_>) -> Result<()> {
    let target = ReadyRegistry::ready(context, "charts", |registry| registry).await?;
    let result = from_registry(context, &target).await;
    // The cases that follow need the operator, whatever became of the chart.
    let helm = Helm::of(Tool::Helm4, context.dir).await?;
    helm.on(context.cluster)
        .args([
            "uninstall",
            "berth-operator",
            NAMESPACE,
            "--ignore-not-found",
            "--wait",
        ])
        .success()
        .await?;
    fixture::install_operator(context.cluster).await?;
    result
}

async fn from_registry(context: &Context<'_>, target: &ReadyRegistry<'_>) -> Result<()> {
    let cluster = context.cluster;
    let host = &target.registry.host;
    let (helm3, helm4) = (
        Helm::of(Tool::Helm3, context.dir).await?,
        Helm::of(Tool::Helm4, context.dir).await?,
    );
    let ca = format!("--ca-file={}", target.ca_file.display());
    let archive = package_chart(&helm4.program, None, context.dir).await?;
    for helm in [&helm3, &helm4] {
        helm.on(cluster)
            .args([
                "registry",
                "login",
                host,
                "--username",
                USER,
                "--password-stdin",
                &ca,
            ])
            .stdin(target.registry.password.clone())
            .success()
            .await?;
    }
    helm3
        .on(cluster)
        .arg("push")
        .arg(&archive)
        .args([format!("oci://{host}/charts"), ca.clone()])
        .success()
        .await?;
    let chart = format!("oci://{host}/charts/berth-operator");
    let serving = pods(target).await?;

    // A Deployment's selector cannot be changed, and Helm's has the release in it.
    cluster
        .kubectl()
        .args(["delete", "deployment", "berth-operator", NAMESPACE])
        .success()
        .await?;
    let arguments = [
        chart.as_str(),
        "--version",
        VERSION,
        NAMESPACE,
        &ca,
        "--wait",
        "--timeout=3m",
    ];
    helm3
        .on(cluster)
        .args(["install", "berth-operator"])
        .args(arguments)
        .arg("--take-ownership")
        .success()
        .await?;
    check_log_filter(cluster, None).await?;
    for (helm, log) in [(&helm3, "operator=debug"), (&helm4, "operator=info")] {
        helm.on(cluster)
            .args(["upgrade", "berth-operator"])
            .args(arguments)
            .args(["--set", &format!("log={log}")])
            .success()
            .await?;
        check_log_filter(cluster, Some(log)).await?;
        // That operator works: it follows a change.
        follow_a_change(target, log).await?;
    }
    helm4
        .on(cluster)
        .args(["uninstall", "berth-operator", NAMESPACE, "--wait"])
        .success()
        .await?;
    let kept = cluster
        .kubectl()
        .args(["get", "crd", "registries.berth.dev", "--output=name"])
        .success()
        .await?;
    ensure!(
        kept.contains("registries.berth.dev"),
        "`helm uninstall` deleted the definition"
    );
    same("the Registry's Pods", &serving, &pods(target).await?)?;
    let answer = target
        .curl()
        .arg(format!("{}v2/charts/berth-operator/tags/list", target.url()?));
    let tags = answer.success().await?;
    ensure!(
        tags.contains(VERSION),
        "without an operator the Registry answers {tags}"
    );
    context.note(
        "installed from oci:// by Helm 3, upgraded by Helm 3 and 4, removed; the Registry kept its Pod",
    );
    Ok(())
}

/// UIDs of the Registry's Pods.
async fn pods(target: &ReadyRegistry<'_>) -> Result<Vec<String>> {
    let pods = target.server_pods().await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}

/// Whether the Deployment, with that log filter, has all its Pods.
async fn check_log_filter(cluster: &Cluster, log: Option<&str>) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().await?, "berth-system");
    wait_for("the operator's Deployment", ROLLOUT, async || {
        let object = serde_json::to_value(deployments.get("berth-operator").await?)?;
        let args = &object["spec"]["template"]["spec"]["containers"][0]["args"];
        let filter = args
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|arg| arg.as_str()?.strip_prefix("--log=").map(str::to_owned));
        let replicas = &object["spec"]["replicas"];
        let ready = object["status"]["updatedReplicas"] == *replicas
            && object["status"]["readyReplicas"] == *replicas
            && object["status"]["replicas"] == *replicas;
        Ok(if filter.as_deref() == log && ready {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("filter {filter:?}, status {}", object["status"]))
        })
    })
    .await
}

/// A label of the Service is changed in the spec and arrives at the Service; no Pod is concerned.
async fn follow_a_change(target: &ReadyRegistry<'_>, value: &str) -> Result<()> {
    let value = value.replace('=', "-");
    let change = json!({"spec": {"service": {"labels": {"example.com/seen": value}}}});
    let name = &target.registry.name;
    target
        .kubectl()
        .args([
            "patch",
            "registry",
            name,
            "--type=merge",
            "--patch",
            &change.to_string(),
        ])
        .success()
        .await?;
    wait_for("the Service's label", ROLLOUT, async || {
        let path = "--output=jsonpath={.metadata.labels.example\\.com/seen}";
        let seen = target
            .kubectl()
            .args(["get", "service", name, path])
            .success()
            .await?;
        Ok(if seen.trim() == value {
            Seen::Done(())
        } else {
            Seen::NotYet(seen)
        })
    })
    .await
}
