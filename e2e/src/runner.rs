//! Runs cases one after another, on this machine alone or against one cluster, and tells what happened.
//!
//! Guarantees: each case gets a folder, and on a cluster namespaces of its own, labelled with its name and deleted
//! afterwards; when it fails, the objects, events and logs in them are saved and the important part is printed; a case
//! that was deselected is counted and never looks like one that passed. Must not: retry a case.
//! Start at [`run`] and [`run_on_machine`].

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;

use crate::clients::Clients;
use crate::exec::tail;
use crate::fixture;
use crate::output::{Output, seconds};
use crate::provider::Cluster;

/// What a case is about; the counts are printed by group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The operator and the objects it makes.
    Cluster,
    /// Registry clients as people run them.
    Client,
    /// Things killed in the middle.
    Crash,
}

impl Group {
    /// All groups, in the order of the summary.
    pub const ALL: [Group; 3] = [Group::Cluster, Group::Client, Group::Crash];
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Group::Cluster => "cluster",
            Group::Client => "client",
            Group::Crash => "crash",
        })
    }
}

/// One behaviour to be shown.
pub struct Case {
    /// Where it is counted.
    pub group: Group,
    /// A sentence.
    pub name: &'static str,
    /// Shows it, or says what is wrong.
    pub run: Run,
}

impl Case {
    /// Whether its sentence contains `only`; without it every case is meant.
    #[must_use]
    pub fn is_meant(&self, only: Option<&str>) -> bool {
        only.is_none_or(|only| self.name.contains(only))
    }

    /// Whether it needs a cluster.
    #[must_use]
    pub fn needs_cluster(&self) -> bool {
        match self.run {
            Run::OnMachine(_) => false,
            Run::OnCluster(_) => true,
        }
    }
}

/// What a case needs to run.
#[derive(Clone, Copy)]
pub enum Run {
    /// Processes of its own on this machine. Runs before there is a cluster.
    OnMachine(for<'a> fn(&'a Bench<'a>) -> LocalBoxFuture<'a, Result<()>>),
    /// The cluster.
    OnCluster(for<'a> fn(&'a Context<'a>) -> LocalBoxFuture<'a, Result<()>>),
}

/// A [`Case`] from a group, a sentence and an `async fn(&Context<'_>) -> Result<()>`; with `machine` in front, from an
/// `async fn(&Bench<'_>) -> Result<()>`.
#[macro_export]
macro_rules! case {
    (machine $group:ident, $name:literal, $run:path) => {
        $crate::runner::Case {
            group: $crate::runner::Group::$group,
            name: $name,
            run: $crate::runner::Run::OnMachine(|bench| Box::pin($run(bench))),
        }
    };
    ($group:ident, $name:literal, $run:path) => {
        $crate::runner::Case {
            group: $crate::runner::Group::$group,
            name: $name,
            run: $crate::runner::Run::OnCluster(|context| Box::pin($run(context))),
        }
    };
}

/// What a case works with that needs no cluster.
pub struct Bench<'a> {
    /// A folder of the case's own. Its `*.log` files are saved when the case fails.
    pub dir: &'a Path,
    notes: RefCell<Vec<String>>,
}

impl Bench<'_> {
    /// A figure or a fact worth printing with the case.
    pub fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }
}

/// What a case works with.
pub struct Context<'a> {
    /// The cluster, shared by all cases.
    pub cluster: &'a Cluster,
    /// A folder of the case's own, seen by [`Cluster::node`] too.
    pub dir: &'a Path,
    name: &'static str,
    namespaces: RefCell<Vec<String>>,
    notes: RefCell<Vec<String>>,
}

impl<'a> Context<'a> {
    /// A new namespace, PodSecurity `restricted`, deleted after the case.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn namespace(&self) -> Result<String> {
        let number = self.namespaces.borrow().len();
        let suffix = if number == 0 {
            String::new()
        } else {
            format!("-{number}")
        };
        // A run that was interrupted may have left one of the same name, still on its way out.
        let stamp = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() % 100_000);
        let name = format!("e2e-{}-{stamp}{suffix}", slug(self.name, 40));
        self.namespaces.borrow_mut().push(name.clone());
        let label = slug(self.name, 63);
        fixture::namespace(self.cluster, &name, &[("berth.dev/e2e-case", &label)]).await?;
        Ok(name)
    }

    /// Clients whose logins are this case's own.
    #[must_use]
    pub fn clients(&self) -> Clients<'a> {
        Clients::new(self.cluster, self.dir)
    }

    /// A figure or a fact worth printing with the case.
    pub fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Cases that passed, by [`Group::ALL`].
    pub passed: [usize; 3],
    /// Cases that failed.
    pub failed: usize,
    /// Cases that were not selected.
    pub deselected: usize,
}

impl Summary {
    /// All cases that passed.
    #[must_use]
    pub fn total(&self) -> usize {
        self.passed.iter().sum()
    }

    /// The sum of two parts of a run.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (mine, theirs) in self.passed.iter_mut().zip(other.passed) {
            *mine += theirs;
        }
        self.failed += other.failed;
        self.deselected += other.deselected;
        self
    }
}

/// Runs those of the cases that need no cluster and whose sentence contains `only` (all, without it). `reports` is where
/// failures are saved.
///
/// # Errors
/// A report cannot be written; a failing case is no error here.
pub async fn run_on_machine(
    cases: &[Case],
    only: Option<&str>,
    reports: &Path,
    out: &Output,
) -> Result<Summary> {
    let mut summary = Summary::default();
    for case in cases {
        let Run::OnMachine(run) = case.run else {
            continue;
        };
        if !case.is_meant(only) {
            summary.deselected += 1;
            continue;
        }
        let dir = folder()?;
        let bench = Bench {
            dir: dir.path(),
            notes: RefCell::default(),
        };
        let start = Instant::now();
        let result = out.step("Running", case.name, async |_| run(&bench).await).await;
        tell(&bench.notes, out);
        let Err(error) = result else {
            summary.passed[case.group as usize] += 1;
            continue;
        };
        summary.failed += 1;
        out.error(&error);
        let reports = Reports::of(case, reports)?;
        reports.save_error(case, &error, start.elapsed())?;
        for entry in fs::read_dir(dir.path()).context("cannot list the case's folder")? {
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
        if is_kept() {
            out.say("Kept", &format!("folder {}", dir.keep().display()));
        }
    }
    Ok(summary)
}

/// Runs those of the cases that need a cluster and whose sentence contains `only` (all, without it). `reports` is where
/// failures are saved.
///
/// # Errors
/// A report cannot be written; a failing case is no error here.
pub async fn run(
    cluster: &Cluster,
    cases: &[Case],
    only: Option<&str>,
    reports: &Path,
    out: &Output,
) -> Result<Summary> {
    let mut summary = Summary::default();
    for case in cases {
        let Run::OnCluster(run) = case.run else {
            continue;
        };
        if !case.is_meant(only) {
            summary.deselected += 1;
            continue;
        }
        let dir = folder()?;
        let context = Context {
            cluster,
            dir: dir.path(),
            name: case.name,
            namespaces: RefCell::default(),
            notes: RefCell::default(),
        };
        let start = Instant::now();
        let result = out
            .step("Running", case.name, async |_| run(&context).await)
            .await;
        tell(&context.notes, out);
        let failed = result.is_err();
        match result {
            Ok(()) => summary.passed[case.group as usize] += 1,
            Err(error) => {
                summary.failed += 1;
                report(cluster, case, &context, &error, start.elapsed(), reports, out).await?;
            }
        }
        if failed && is_kept() {
            let namespaces = context.namespaces.take().join(" ");
            out.say(
                "Kept",
                &format!("namespaces {namespaces}, folder {}", dir.keep().display()),
            );
        } else {
            delete_namespaces(cluster, context.namespaces.take()).await?;
        }
    }
    Ok(summary)
}

/// A new folder for a case.
fn folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("berth-e2e-")
        .tempdir()
        .context("cannot make a folder")
}

/// Prints what a case noted.
fn tell(notes: &RefCell<Vec<String>>, out: &Output) {
    for note in notes.borrow().iter() {
        out.text(&format!("{:>12} {note}", "·"));
    }
}

/// Whether what a failed case made stays.
fn is_kept() -> bool {
    std::env::var_os("BERTH_E2E_KEEP").is_some_and(|value| value == "1")
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

/// Only those this case made. Their end is awaited: what is left in one must not disturb the next case.
async fn delete_namespaces(cluster: &Cluster, names: Vec<String>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    for name in names {
        match namespaces.delete(&name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot delete namespace `{name}`")),
            Ok(_) => {}
        }
        let what = format!("namespace `{name}` to go");
        crate::wait::wait_for(&what, Duration::from_secs(120), async || {
            Ok(match namespaces.get_opt(&name).await? {
                None => crate::wait::Seen::Done(()),
                Some(namespace) => crate::wait::Seen::NotYet(format!("{:?}", namespace.status)),
            })
        })
        .await?;
    }
    Ok(())
}

async fn report(
    cluster: &Cluster,
    case: &Case,
    context: &Context<'_>,
    error: &anyhow::Error,
    time: Duration,
    reports: &Path,
    out: &Output,
) -> Result<()> {
    out.error(error);
    let reports = Reports::of(case, reports)?;
    reports.save_error(case, error, time)?;
    let mut namespaces = context.namespaces.borrow().clone();
    namespaces.push("berth-system".into());
    for namespace in &namespaces {
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

/// A sentence as a name: small letters, digits and single dashes, `longest` at most.
fn slug(sentence: &str, longest: usize) -> String {
    let mut slug = String::new();
    for c in sentence.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
        if slug.len() == longest {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_becomes_a_label() {
        for (sentence, longest, expected) in [
            (
                "docker pushes and a kubelet runs what was pushed",
                20,
                "docker-pushes-and-a",
            ),
            ("HEAD, then GET: 404", 63, "head-then-get-404"),
            ("  a", 5, "a"),
        ] {
            assert_eq!(slug(sentence, longest), expected, "{sentence}");
        }
    }
}
