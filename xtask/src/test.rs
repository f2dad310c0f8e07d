//! `cargo xtask test`: all levels, one summary.
//!
//! Guarantees: a part that cannot run counts as failed; the end of the output names what took longest, every failure in one
//! line, and the last line is `N passed, N failed`; skipped is 0 unless the caller deselected cases, and is printed either way.
//! Must not: hide a part's output when it fails. Start at [`test`].

use std::process::ExitCode;

use anyhow::Result;
use e2e::exec::Exec;
use e2e::images::checkout;
use e2e::output::{Output, Step};
use e2e::runner::{Group, Summary};
use e2e::{packages, suite};

use super::provider::Provider;
use super::stores::Stores;

mod summary;
mod times;
mod up_and_down;
mod workspace;

use workspace::Workspace;
pub(crate) use workspace::{Counts, cargo, count, failures};

/// The case about this program itself.
const UP_AND_DOWN: &str = "up, run twice, changes nothing, and down leaves no trace";

/// The parts of the suite to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Only cases whose sentence contains this, and no other tests.
    pub(crate) only: Option<String>,
    /// Only the cases that need a cluster, on one that is made like this.
    pub(crate) cluster: Option<Provider>,
    /// Whether formatting and lints are checked too.
    pub(crate) lints: bool,
    /// Whether to stop at the first part that fails.
    pub(crate) fail_fast: bool,
}

/// The results of all parts.
#[derive(Debug, Default)]
struct Run {
    workspace: Workspace,
    cases: Summary,
}

impl Run {
    fn has_failed(&self) -> bool {
        !self.workspace.failures.is_empty() || !self.cases.failures.is_empty()
    }
}

pub(crate) async fn test(selection: &Selection, out: &Output) -> Result<ExitCode> {
    let mut run = Run::default();
    if let Some(provider) = selection.cluster {
        run.cases = on_cluster(provider, selection.only.as_deref(), out).await;
        return Ok(finish(&run, out));
    }
    // First: some of the workspace's own tests compare with Debian's programs.
    if let Err(error) = packages::install(out).await {
        out.error(&error);
        run.cases.fail("installing packages", &error);
    } else {
        run = all(selection, out).await;
    }
    Ok(finish(&run, out))
}

/// Prints the summary and gives the exit code.
fn finish(run: &Run, out: &Output) -> ExitCode {
    let text = summary::text(&run.workspace, &run.cases, &out.times());
    // Closed by a reader who has seen enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    if run.has_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The cases that need a cluster, and nothing else.
async fn on_cluster(provider: Provider, only: Option<&str>, out: &Output) -> Summary {
    let all = async || match provider {
        Provider::Kind => {
            packages::install_for_kind(out).await?;
            suite::build(out).await?;
            suite::kind(only, out).await
        }
        Provider::Local => {
            packages::install(out).await?;
            suite::build(out).await?;
            suite::local_cluster(only, out).await
        }
    };
    all().await.unwrap_or_else(|error| {
        out.error(&error);
        let mut summary = Summary::default();
        summary.fail("the cluster", &error);
        summary
    })
}

async fn all(selection: &Selection, out: &Output) -> Run {
    let only = selection.only.as_deref();
    let mut run = Run::default();
    let built = match only {
        Some(_) => suite::build(out).await,
        None => {
            let (workspace, lints, built) = tests_and_builds(selection.lints, out).await;
            run.workspace = workspace;
            if let Err(error) = lints {
                run.cases.fail("formatting and lints", &error);
            }
            built
        }
    };
    if let Err(error) = built {
        out.error(&error);
        run.cases.fail("building what the cases run", &error);
        return run;
    }
    if run.has_failed() && selection.fail_fast {
        return run;
    }
    match suite::local(only, out).await {
        Ok(summary) => run.cases = run.cases.and(summary),
        Err(error) => {
            out.error(&error);
            run.cases.fail("the local cluster", &error);
        }
    }
    if only.is_none_or(|only| UP_AND_DOWN.contains(only)) {
        let up_and_down = async |_| up_and_down::up_twice_then_down(out).await;
        match out.step("Running", UP_AND_DOWN, up_and_down).await {
            Ok(()) => run.cases.passed[Group::Cluster as usize] += 1,
            Err(error) => {
                out.error(&error);
                run.cases.fail(UP_AND_DOWN, &error);
            }
        }
    } else {
        run.cases.deselected += 1;
    }
    if let Some(only) = only
        && run.cases.total() + run.cases.failures.len() == 0
    {
        // Nothing ran: that is no success, it is a sentence that no case has.
        let error = anyhow::anyhow!("no case has a sentence that contains `{only}`");
        out.error(&error);
        run.cases.fail("selecting cases", &error);
    }
    run
}

/// Runs the workspace's tests, the lints and the builds for the cases at the same time: tests wait half of the time.
async fn tests_and_builds(lints: bool, out: &Output) -> (Workspace, Result<()>, Result<()>) {
    let stores = match Stores::start(out).await {
        Ok(stores) => stores,
        // Not run at all: without its stores the driver suite would be a smaller one.
        Err(error) => {
            out.error(&error);
            return (
                Workspace::failed("object stores", &error),
                Ok(()),
                suite::build(out).await,
            );
        }
    };
    // Before the builds: cargo compiles tests and lints in one folder, one at a time.
    let compiled = workspace::compile(out).await;
    let tests = async {
        match &compiled {
            Ok(()) => workspace::run(&stores, out).await,
            Err(error) => {
                out.error(error);
                Workspace::failed("compiling the workspace's tests", error)
            }
        }
    };
    let lints = async { if lints { check_lints(out).await } else { Ok(()) } };
    let builds = async {
        suite::build(out).await?;
        suite::build_tools(out).await
    };
    tokio::join!(tests, lints, builds)
}

async fn check_lints(out: &Output) -> Result<()> {
    let cargo = |args: &str| Exec::new(cargo()).args(args.split(' ')).dir(checkout());
    let format = cargo("fmt --all -- --check");
    let clippy =
        cargo("clippy --workspace --all-targets --locked -- -D warnings").deadline(workspace::DEADLINE);
    let check = async |step: Step| {
        format.success().await?;
        clippy.watched(|line| step.note(line.trim())).await
    };
    let result = out.step("Checking", "formatting and lints", check).await;
    if let Err(error) = &result {
        out.error(error);
    }
    result
}
