//! `cargo xtask up`: from a clone to a registry that is shown working.
//!
//! Guarantees: each step prints its name and time. Run again, it changes nothing.

use std::fs;

use anyhow::{Context as _, Result};
use e2e::cache::Cache;
use e2e::clients::Clients;
use e2e::demo::{self, Pushed};
use e2e::fixture::{self, Registry, USER};
use e2e::kind::Kind;
use e2e::local::{Local, Programs};
use e2e::output::{Hint, Output};
use e2e::provider::Cluster;
use e2e::{dist, images, packages};
use serde_json::{Value, json};

use crate::NAME;
use crate::provider::Provider;

/// The namespace of the demonstration.
const NAMESPACE: &str = "berth-demo";

pub(crate) async fn up(name: &str, asked: Option<Provider>, out: &Output) -> Result<()> {
    let cache = Cache::open()?;
    let (cluster, home) = match Provider::of(asked, name, &cache, out).await? {
        Provider::Kind => {
            packages::install_for_kind(out).await?;
            build(out).await?;
            let kind = Kind::start(&cache, name, out).await?;
            let home = kind.home()?;
            (Cluster::Kind(kind), home)
        }
        Provider::Local => {
            packages::install(out).await?;
            let programs = out
                .step("Building", "the cluster's programs", async |step| {
                    Programs::provide(&cache, &step).await
                })
                .await?;
            build(out).await?;
            let local = Local::start(&cache, name, programs, out).await?;
            let home = local.home()?;
            (Cluster::Local(Box::new(local)), home)
        }
    };
    out.step(
        "Loading",
        "images berth/operator and berth/registry",
        async |step| {
            step.note("docker build");
            images::provide(&cluster).await
        },
    )
    .await?;
    let kubectl = |line: &str| format!("`cargo xtask kubectl{} -- {line}` shows more", option(name));
    out.step("Installing", "the operator", async |_| {
        fixture::install_operator(&cluster).await
    })
    .await
    .map_err(|error| {
        Hint::on(
            error,
            kubectl("logs -n berth-system -l app.kubernetes.io/name=berth-operator --tail=50"),
        )
    })?;
    let describe = kubectl(&format!("describe registry,pod -n {NAMESPACE}"));
    let mut registry = Registry::new(&cluster, NAMESPACE, "registry")
        .with("/storage/persistentVolumeClaim/template/size", json!("5Gi"));
    let status = out
        .step(
            "Applying",
            &format!("Registry {NAMESPACE}/registry"),
            async |step| {
                fixture::namespace(&cluster, NAMESPACE, &[]).await?;
                registry.apply(&cluster).await?;
                step.note("waiting for Ready");
                let status = registry.ready(&cluster).await?;
                demo::announce(&cluster, &registry).await?;
                anyhow::Ok(status)
            },
        )
        .await
        .map_err(|error| Hint::on(error, describe.clone()))?;
    let ca = registry.ca_certificate(&cluster).await?;
    let file = home.join("ca.crt");
    fs::write(&file, &ca).with_context(|| format!("cannot write `{}`", file.display()))?;
    let clients = Clients::new(&cluster, &home);
    let pushed = out
        .step(
            "Pushing",
            "an image by docker, through the Ingress, and pulling it back",
            async |_| demo::push_and_pull(&cluster, &clients, &registry).await,
        )
        .await
        .map_err(|error| Hint::on(error, describe.clone()))?;
    let said = out
        .step("Running", "a Pod from that image", async |_| {
            demo::run_pod(&cluster, &registry, &pushed).await
        })
        .await
        .map_err(|error| Hint::on(error, describe))?;
    print(
        name,
        &cluster,
        &registry,
        &status,
        &pushed,
        &said,
        &file.display().to_string(),
    );
    Ok(())
}

async fn build(out: &Output) -> Result<()> {
    out.step("Building", "the operator and the server", async |step| {
        dist::fill(&step).await
    })
    .await
}

fn print(
    name: &str,
    cluster: &Cluster,
    registry: &Registry,
    status: &Value,
    pushed: &Pushed,
    said: &str,
    ca: &str,
) {
    let host = &registry.host;
    let text = format!(
        "
Registry   {NAMESPACE}/{registry_name}, Ready
URL        {url}
User       {USER}
Password   {password}
CA         {ca}
Image      {reference}
  pushed   {pushed}
  pulled   {pulled}
Pod        printed: {said}

Try next
  cargo xtask kubectl{option} -- get registry --all-namespaces
  {exec}docker pull {reference}
  curl --cacert {ca} --resolve {host}:443:{address} --user {USER} https://{host}/v2/_catalog
  cargo xtask down{option}
",
        registry_name = registry.name,
        url = status["url"].as_str().unwrap_or("(none in the status)"),
        password = registry.password,
        reference = pushed.reference,
        pushed = pushed.pushed,
        pulled = pushed.pulled,
        option = option(name),
        exec = match cluster {
            Cluster::Local(_) => format!("cargo xtask exec{} -- ", option(name)),
            Cluster::Existing(_) | Cluster::Kind(_) => String::new(),
        },
        address = cluster.ingress_address(),
    );
    // A reader that has seen enough closes the pipe.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.trim_start_matches('\n').as_bytes());
}

/// The option that names the cluster, empty for the usual one.
fn option(name: &str) -> String {
    if name == NAME {
        String::new()
    } else {
        format!(" --name {name}")
    }
}
