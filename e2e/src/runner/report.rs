//! The report of a failed case: printed in short, saved in full.
//!
//! Start at [`of_machine`] and [`of_cluster`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Case, slug};
use crate::exec::tail;
use crate::output::{Output, seconds};
use crate::provider::Cluster;

/// Saves the error and the logs in the case's folder, and prints the ends of the logs.
pub(super) fn of_machine(
    case: &Case,
    dir: &Path,
    error: &anyhow::Error,
    time: Duration,
    reports: &Path,
    out: &Output,
) -> Result<()> {
    out.error(error);
    let reports = Reports::of(case, reports)?;
    reports.save_error(case, error, time)?;
    for entry in fs::read_dir(dir).context("cannot list the case's folder")? {
        let path = entry.context("cannot list the case's folder")?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            // As much as can be had: a log need not be text, and a case may still be writing it.
            let log = fs::read(&path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            reports.save(&name, &log)?;
            out.text(&format!("  {name}:\n{}", tail(&log, 12)));
        }
    }
    reports.tell("logs", case, out);
    Ok(())
}

/// Saves the error and the objects, events and logs of the case's namespaces, and prints the ends of events and logs.
pub(super) async fn of_cluster(
    cluster: &Cluster,
    case: &Case,
    namespaces: &[String],
    error: &anyhow::Error,
    time: Duration,
    reports: &Path,
    out: &Output,
) -> Result<()> {
    out.error(error);
    let reports = Reports::of(case, reports)?;
    reports.save_error(case, error, time)?;
    for namespace in namespaces.iter().map(String::as_str).chain(["berth-system"]) {
        let kubectl = |args: &[&str]| {
            cluster
                .kubectl()
                .arg(format!("--namespace={namespace}"))
                .args(args)
        };
        let objects =
            "registries,deployments,pods,services,endpointslices,ingresses,persistentvolumeclaims,configmaps";
        // Saving as much as can be had: what cannot be fetched is told in the file itself.
        let fetch = async |args: &[&str]| match kubectl(args).output().await {
            Ok(finished) => finished.all(),
            Err(error) => format!("{error:#}"),
        };
        reports.save(
            &format!("{namespace}.objects.yaml"),
            &fetch(&["get", objects, "-o", "yaml"]).await,
        )?;
        let events = fetch(&["events", "--no-headers"]).await;
        reports.save(&format!("{namespace}.events.txt"), &events)?;
        let pods = fetch(&["get", "pods", "-o", "name"]).await;
        let mut logs = String::new();
        for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
            logs.push_str(&format!(
                "== {pod}\n{}",
                fetch(&["logs", pod, "--all-containers", "--tail=500"]).await
            ));
        }
        reports.save(&format!("{namespace}.logs.txt"), &logs)?;
        out.text(&format!("  events in {namespace}:\n{}", tail(&events, 8)));
        out.text(&format!("  logs in {namespace}:\n{}", tail(&logs, 12)));
    }
    reports.tell("objects, events and logs", case, out);
    Ok(())
}

/// Where one failed case's report goes.
struct Reports(PathBuf);

impl Reports {
    fn of(case: &Case, reports: &Path) -> Result<Self> {
        let folder = reports.join(slug(case.name, 80));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        Ok(Self(folder))
    }

    fn save(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }

    fn save_error(&self, case: &Case, error: &anyhow::Error, time: Duration) -> Result<()> {
        let text = format!("{}\nafter {}\n\n{error:?}\n", case.name, seconds(time));
        self.save("error.txt", &text)
    }

    /// Says where to look and how to run the case again.
    fn tell(&self, what: &str, case: &Case, out: &Output) {
        out.say("Saved", &format!("{what} in {}", self.0.display()));
        out.say("Again", &format!("cargo xtask test --only '{}'", case.name));
    }
}
