//! The workspace's own tests: one `cargo test` to compile them, one to run them, each test with its time.
//!
//! Guarantees: a test program that does not compile, or dies, is a failure with a name. Must not: hide what cargo says of a
//! failure. Start at [`run`].

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::exec::{Exec, Finished, Pipe};
use e2e::images::checkout;
use e2e::output::Output;

use super::times::{TestTime, TestTimes};
use crate::stores::{FEATURE, Stores};

/// Compiling all tests and running them, on two cores.
pub(super) const DEADLINE: Duration = Duration::from_secs(45 * 60);

/// The counts of `cargo test` over all test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

/// The results of the workspace's tests.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) counts: Counts,
    /// A line for each failure.
    pub(super) failures: Vec<String>,
    pub(super) times: Vec<TestTime>,
}

impl Workspace {
    /// A run that did not come to its tests.
    pub(super) fn failed(what: &str, error: &anyhow::Error) -> Self {
        let text = error.to_string();
        Self {
            failures: vec![format!("{what}: {}", text.lines().next().unwrap_or_default())],
            ..Self::default()
        }
    }
}

pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn command(last: &[&str]) -> Exec {
    Exec::new(cargo())
        .args(["test", "--workspace", "--locked", "--features", FEATURE])
        .args(last)
        .dir(checkout())
        .deadline(DEADLINE)
}

/// Compiles the tests.
///
/// # Errors
/// They do not compile; the error holds what the compiler said.
pub(super) async fn compile(out: &Output) -> Result<()> {
    out.step("Building", "the workspace's tests", async |step| {
        command(&["--no-run"])
            .watched(|line| step.note(line.trim()))
            .await
    })
    .await
}

/// Runs the tests, which are compiled.
pub(super) async fn run(stores: &Stores, out: &Output) -> Workspace {
    let what = "the workspace's tests";
    let own = out.hold();
    let result = own
        .step("Running", what, async |step| {
            let mut command = command(&["--no-fail-fast"]);
            for (name, value) in stores.variables()? {
                command = command.env(name, value);
            }
            let mut times = TestTimes::default();
            let watch = |pipe, line: &str| {
                times.line(pipe, line, Instant::now());
                if pipe == Pipe::Stdout && line.starts_with("test result: ") {
                    step.note(times.program());
                }
            };
            let finished = command.streamed(watch).await?;
            if !finished.status.success() {
                own.text(&failures(&finished));
            }
            Ok(judged(&finished, times))
        })
        .await;
    let workspace = result.unwrap_or_else(|error| {
        own.error(&error);
        Workspace::failed(what, &error)
    });
    own.release();
    workspace
}

fn judged(finished: &Finished, times: TestTimes) -> Workspace {
    let counts = count(&finished.stdout);
    let (times, mut failures) = times.finish();
    if !finished.status.success() && failures.is_empty() {
        // A test program that died has no line for the test that did it.
        let error = finished
            .stderr
            .lines()
            .rev()
            .find(|line| line.starts_with("error"));
        failures.push(format!(
            "cargo test: {}",
            error.unwrap_or("it ended without a word")
        ));
    }
    Workspace {
        counts,
        failures,
        times,
    }
}

/// Adds up lines such as `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
pub(crate) fn count(stdout: &str) -> Counts {
    let mut counts = Counts::default();
    for line in stdout.lines().filter(|line| line.starts_with("test result: ")) {
        let number = |word: &str| {
            let before = line.split(word).next().unwrap_or_default();
            before
                .split_whitespace()
                .last()
                .and_then(|number| number.parse::<usize>().ok())
                .unwrap_or(0)
        };
        counts.passed += number(" passed;");
        counts.failed += number(" failed;");
        counts.ignored += number(" ignored;");
    }
    counts
}

/// The output of cargo without the tests that passed and the crates that compiled.
pub(crate) fn failures(finished: &Finished) -> String {
    let noise = |line: &&str| {
        let passed = line.starts_with("test ") && line.ends_with(" ... ok");
        let progress = [
            "   Compiling ",
            "  Downloaded ",
            "     Running ",
            "running ",
            "   Doc-tests ",
        ]
        .iter()
        .any(|start| line.starts_with(start));
        !passed && !progress && !line.trim().is_empty()
    };
    let text = finished.all();
    text.lines().filter(noise).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_lines_of_all_programs_are_added_up() {
        let stdout = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 3 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(
            count(stdout),
            Counts {
                passed: 5,
                failed: 1,
                ignored: 4
            }
        );
    }
}
