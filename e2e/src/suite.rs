//! The whole run: the cases that need no cluster; then provide one, install what is tested, run the others, take it down.
//!
//! Guarantees: a cluster that cannot be provided is an error, never a skip; the local cluster is always taken down, and
//! that this leaves no trace is a case of its own. Must not: know single cases. Start at [`local`].

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;
use crate::footprint::Snapshot;
use crate::kind::Kind;
use crate::local::{Local, Programs, save_logs};
use crate::output::{Hint, Output, Step};
use crate::provider::{Cluster, Existing};
use crate::runner::{Case, Group, Summary};
use crate::tools::Tool;
use crate::{cases, dist, fixture, images, runner, versions};

/// The suite's own local cluster; `cargo xtask up` has another, so that both can run.
pub const LOCAL_NAME: &str = "berth-e2e";
/// The case that is decided after the cluster has gone.
const NO_TRACE: &str = "down leaves no trace";

/// Compiles both programs.
///
/// # Errors
/// They do not compile.
pub async fn build(out: &Output) -> Result<()> {
    let programs = dist::PROGRAMS.join(" and ");
    let fill = async |step: Step| dist::fill(&step).await;
    out.step("Building", &programs, fill).await
}

/// Compiles the third-party programs that the cases run and the cache does not have.
///
/// # Errors
/// One cannot be built.
pub async fn build_tools(out: &Output) -> Result<()> {
    let cache = Cache::open()?;
    for tool in Tool::ALL {
        if tool.is_built(&cache).await? {
            continue;
        }
        let build = async |step: Step| tool.path(&cache, |what| step.note(what)).await;
        out.step("Building", tool.name(), build).await?;
    }
    Ok(())
}

/// Runs the cases that need a cluster and whose sentence contains `only` (all, without it) against a fresh local one. The
/// caller has installed the packages and called [`build`].
///
/// # Errors
/// The cluster cannot be provided.
pub async fn local_cluster(only: Option<&str>, out: &Output) -> Result<Summary> {
    versions::tell_of_programs(out).await?;
    let cases = cases::all();
    let deselected = cases.iter().filter(|case| !case.needs_cluster()).count();
    Ok(on_local_cluster(&cases, only, out).await?.and(Summary {
        deselected,
        ..Summary::default()
    }))
}

/// Runs the cases whose sentence contains `only` (all, without it): those that need no cluster, then the others against
/// a fresh local one, if there are any. The caller has installed the packages and called [`build`].
///
/// # Errors
/// The cluster cannot be provided.
pub async fn local(only: Option<&str>, out: &Output) -> Result<Summary> {
    let cases = cases::all();
    let needs_cluster = runner::is_meant(NO_TRACE, only)
        || cases
            .iter()
            .any(|case| case.needs_cluster() && case.is_meant(only));
    // Reports of an earlier run would look like this one's.
    match fs::remove_dir_all(reports()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).context("cannot remove old reports");
        }
        Ok(()) | Err(_) => {}
    }
    versions::tell_of_programs(out).await?;
    let summary = runner::run_on_machine(&cases, only, &reports(), out).await?;
    if needs_cluster {
        return Ok(summary.and(on_local_cluster(&cases, only, out).await?));
    }
    let deselected = cases.iter().filter(|case| case.needs_cluster()).count() + 1;
    Ok(summary.and(Summary {
        deselected,
        ..Summary::default()
    }))
}

async fn on_local_cluster(cases: &[Case], only: Option<&str>, out: &Output) -> Result<Summary> {
    let cache = Cache::open()?;
    // A second run would take down the first one's cluster.
    let _alone = cache
        .try_lock("suite")?
        .context("another run of the suite is under way on this machine")?;
    let programs = out
        .step("Building", "the cluster's programs", async |step| {
            let programs = Programs::provide(&cache, &step).await?;
            programs.with_current_docker(&cache, &step).await
        })
        .await?;
    // An interrupted run may have left a cluster, which would be in the snapshot.
    Local::stop(&cache, LOCAL_NAME).await?;
    let before = Snapshot::take_excluding(&Local::others(&cache, LOCAL_NAME)?).await?;
    let mut result = async {
        let cluster = Cluster::Local(Box::new(Local::start(&cache, LOCAL_NAME, programs, out).await?));
        out.step("Loading", "both images", async |_| {
            images::provide(&cluster).await
        })
        .await?;
        install_and_run(&cluster, cases, only, out).await
    }
    .await;
    if result
        .as_ref()
        .map_or(true, |summary| !summary.failures.is_empty())
    {
        let folder = reports().join("cluster");
        save_logs(&cache, LOCAL_NAME, &folder)?;
        let logs = format!(
            "the logs of the cluster's components are in `{}`",
            folder.display()
        );
        out.say("Saved", &logs);
        result = result.map_err(|error| Hint::on(error, logs));
    }
    let stop = async |_| Local::stop(&cache, LOCAL_NAME).await;
    let stopped = out
        .step("Stopping", &format!("local cluster `{LOCAL_NAME}`"), stop)
        .await;
    let mut summary = result?;
    stopped?;
    if !runner::is_meant(NO_TRACE, only) {
        summary.deselected += 1;
        return Ok(summary);
    }
    let judged = out
        .step("Running", NO_TRACE, async |_| {
            let diff = before.diff(&Snapshot::take_excluding(&Local::others(&cache, LOCAL_NAME)?).await?);
            if !diff.is_empty() {
                bail!("the machine is not as it was:\n{}", diff.join("\n"));
            }
            Ok(())
        })
        .await;
    match judged {
        Ok(()) => summary.passed[Group::Cluster as usize] += 1,
        Err(error) => {
            out.error(&error);
            summary.fail(NO_TRACE, &error);
        }
    }
    Ok(summary)
}

/// Runs the cases that need a cluster against a fresh one of kind, which is removed afterwards. The caller has installed
/// the packages and called [`build`].
///
/// # Errors
/// The cluster cannot be provided.
pub async fn kind(only: Option<&str>, out: &Output) -> Result<Summary> {
    versions::tell_of_programs(out).await?;
    let cache = Cache::open()?;
    let _alone = cache
        .try_lock("suite")?
        .context("another run of the suite is under way on this machine")?;
    Kind::stop(&cache, LOCAL_NAME).await?;
    let cases = cases::all();
    let result = async {
        let cluster = Cluster::Kind(Kind::start(&cache, LOCAL_NAME, out).await?);
        out.step("Loading", "both images", async |_| {
            images::provide(&cluster).await
        })
        .await?;
        let result = install_and_run(&cluster, &cases, only, out).await;
        cluster.forget()?;
        result
    }
    .await;
    let stop = async |_| Kind::stop(&cache, LOCAL_NAME).await;
    let stopped = out
        .step("Stopping", &format!("kind cluster `{LOCAL_NAME}`"), stop)
        .await;
    let mut summary = result?;
    stopped?;
    summary.deselected += cases.iter().filter(|case| !case.needs_cluster()).count() + 1;
    Ok(summary)
}

/// Runs the cases that need a cluster against one that already exists.
///
/// # Errors
/// The operator cannot be installed in it.
pub async fn existing(existing: Existing, only: Option<&str>, out: &Output) -> Result<Summary> {
    let cluster = Cluster::Existing(existing);
    let cases = cases::all();
    let result = install_and_run(&cluster, &cases, only, out).await;
    cluster.forget()?;
    let mut summary = result?;
    summary.deselected += cases.iter().filter(|case| !case.needs_cluster()).count() + 1;
    Ok(summary)
}

async fn install_and_run(
    cluster: &Cluster,
    cases: &[Case],
    only: Option<&str>,
    out: &Output,
) -> Result<Summary> {
    out.step("Installing", "the operator", async |_| {
        fixture::install_operator(cluster).await
    })
    .await?;
    versions::tell_of_cluster(cluster, out).await?;
    runner::run(cluster, cases, only, &reports(), out).await
}

/// The folder of the reports of failures.
fn reports() -> PathBuf {
    images::checkout().join("target/e2e")
}
