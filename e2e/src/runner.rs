//! Runs cases, on this machine alone or against one cluster, and tells what happened.
//!
//! Guarantees: a few cases run side by side, one that is `alone` by itself; each case gets a folder, and on a cluster namespaces of its own, labelled with its name and deleted
//! afterwards; when it fails, the objects, events and logs in them are saved and the important part is printed; a case
//! that was deselected is counted and never looks like one that passed. Must not: retry a case.
//! Start at [`run`] and [`run_on_machine`].

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;

use crate::clients::Clients;
use crate::fixture;
use crate::output::Output;
use crate::provider::Cluster;

mod report;
mod schedule;

/// How many cases run side by side on the machine. They wait half of the time: for stores, timeouts and restarts.
const MACHINE_AT_ONCE: usize = 4;

/// How many cases run side by side on a cluster. They wait for Pods most of the time; a node with two cores starts about
/// one at a time.
const CLUSTER_AT_ONCE: usize = 3;

/// The subject of a case. The counts are printed by group.
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
    /// Whether no other case may run at the same time: it measures, or it changes what all share.
    pub alone: bool,
}

impl Case {
    /// Whether the selection `only` means it.
    #[must_use]
    pub fn is_meant(&self, only: Option<&str>) -> bool {
        is_meant(self.name, only)
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

/// Whether a sentence contains `only`, or one of its parts between bars (`|`); without it every sentence is meant.
#[must_use]
pub fn is_meant(sentence: &str, only: Option<&str>) -> bool {
    only.is_none_or(|only| only.split('|').any(|part| sentence.contains(part)))
}

/// The function of a case, by the surroundings it needs.
#[derive(Clone, Copy)]
pub enum Run {
    /// Processes of its own on this machine. Runs before there is a cluster.
    OnMachine(MachineRun),
    /// The cluster.
    OnCluster(ClusterRun),
}

type MachineRun = for<'a> fn(&'a Bench<'a>) -> LocalBoxFuture<'a, Result<()>>;
type ClusterRun = for<'a> fn(&'a Context<'a>) -> LocalBoxFuture<'a, Result<()>>;

/// A [`Case`] from a group, a sentence and an `async fn(&Context<'_>) -> Result<()>`; with `machine` in front, from an
/// `async fn(&Bench<'_>) -> Result<()>`. With `alone` before that, no other case runs at the same time.
#[macro_export]
macro_rules! case {
    (alone $($rest:tt)*) => {
        $crate::runner::Case {
            alone: true,
            ..$crate::case!($($rest)*)
        }
    };
    (machine $group:ident, $name:literal, $run:path) => {
        $crate::runner::Case {
            group: $crate::runner::Group::$group,
            name: $name,
            run: $crate::runner::Run::OnMachine(|bench| Box::pin($run(bench))),
            alone: false,
        }
    };
    ($group:ident, $name:literal, $run:path) => {
        $crate::runner::Case {
            group: $crate::runner::Group::$group,
            name: $name,
            run: $crate::runner::Run::OnCluster(|context| Box::pin($run(context))),
            alone: false,
        }
    };
}

/// The surroundings of a case on the machine.
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

/// The surroundings of a case on a cluster.
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
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Cases that passed, by [`Group::ALL`].
    pub passed: [usize; 3],
    /// One line for each failure: the case and the first line of its error.
    pub failures: Vec<String>,
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
        self.failures.extend(other.failures);
        self.deselected += other.deselected;
        self
    }

    /// Adds a failure of a case, named by its sentence, or of a step.
    pub fn fail(&mut self, what: &str, error: &anyhow::Error) {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        self.failures.push(format!("{what}: {first}"));
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
    let work = async |case: &Case, out: &Output| match case.run {
        Run::OnMachine(run) => machine_case(case, run, reports, out).await,
        Run::OnCluster(_) => unreachable!("only cases for the machine are taken"),
    };
    let cases = cases.iter().filter(|case| !case.needs_cluster());
    schedule::run(cases, only, MACHINE_AT_ONCE, work, out)
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
    let work = async |case: &Case, out: &Output| match case.run {
        Run::OnMachine(_) => unreachable!("only cases for the cluster are taken"),
        Run::OnCluster(run) => cluster_case(cluster, case, run, reports, out).await,
    };
    let cases = cases.iter().filter(|case| case.needs_cluster());
    schedule::run(cases, only, CLUSTER_AT_ONCE, work, out)
}

/// Runs one case; `Some` is why it failed.
async fn machine_case(
    case: &Case,
    run: MachineRun,
    reports: &Path,
    out: &Output,
) -> Result<Option<anyhow::Error>> {
    let dir = folder()?;
    let bench = Bench {
        dir: dir.path(),
        notes: RefCell::default(),
    };
    let start = Instant::now();
    let result = out.step("Running", case.name, async |_| run(&bench).await).await;
    tell(&bench.notes, out);
    let Err(error) = result else {
        return Ok(None);
    };
    report::of_machine(case, dir.path(), &error, start.elapsed(), reports, out)?;
    if is_kept() {
        out.say("Kept", &format!("folder {}", dir.keep().display()));
    }
    Ok(Some(error))
}

/// Runs one case and deletes its namespaces; `Some` is why it failed.
async fn cluster_case(
    cluster: &Cluster,
    case: &Case,
    run: ClusterRun,
    reports: &Path,
    out: &Output,
) -> Result<Option<anyhow::Error>> {
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
    let namespaces = context.namespaces.take();
    let Err(error) = result else {
        delete_namespaces(cluster, namespaces).await?;
        return Ok(None);
    };
    report::of_cluster(cluster, case, &namespaces, &error, start.elapsed(), reports, out).await?;
    if is_kept() {
        let namespaces = namespaces.join(" ");
        let folder = dir.keep();
        out.say(
            "Kept",
            &format!("namespaces {namespaces}, folder {}", folder.display()),
        );
    } else {
        delete_namespaces(cluster, namespaces).await?;
    }
    Ok(Some(error))
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
    fn a_selection_names_parts_of_several_sentences() {
        for (only, meant) in [
            (None, true),
            (Some("docker"), true),
            (Some("kind|docker"), true),
            (Some("kind|helm"), false),
        ] {
            assert_eq!(is_meant("docker pushes", only), meant, "{only:?}");
        }
    }

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
