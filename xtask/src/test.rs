//! `cargo xtask test`: all levels, one after another, one summary.
//!
//! Guarantees: a part that cannot run counts as failed; the last line is `N passed, N failed`; skipped is 0 unless the
//! caller deselected cases, and is printed either way. Must not: hide a part's output when it fails.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use e2e::exec::{Exec, Finished};
use e2e::images::checkout;
use e2e::output::{Output, seconds};
use e2e::runner::{Group, Summary};
use e2e::{packages, suite};

use super::stores::{FEATURE, Stores};

mod up_and_down;

/// The case this program is itself the subject of.
const UP_AND_DOWN: &str = "up, run twice, changes nothing, and down leaves no trace";

/// Compiling all tests and running them, on two cores.
const CARGO_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// What `cargo test` counted over all its programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    ignored: usize,
}

pub(crate) async fn test(only: Option<&str>, fail_fast: bool, out: &Output) -> Result<ExitCode> {
    let mut counts = Counts::default();
    // First: some of the workspace's own tests compare with Debian's programs.
    if let Err(error) = packages::install(out).await {
        out.error(&error);
        counts.failed = 1;
    } else if only.is_none() {
        counts = match Stores::start(out).await {
            Ok(stores) => cargo_test(&stores, out).await,
            // Not run at all: without its stores the driver suite would be a smaller one.
            Err(error) => {
                out.error(&error);
                Counts {
                    failed: 1,
                    ..Counts::default()
                }
            }
        };
    }
    let mut cases = Summary::default();
    if counts.failed == 0 || !fail_fast {
        match suite::local(only, out).await {
            Ok(summary) => cases = summary,
            Err(error) => {
                out.error(&error);
                cases.failed = 1;
            }
        }
    }
    if only.is_none_or(|only| UP_AND_DOWN.contains(only)) {
        match out
            .step("Running", UP_AND_DOWN, async |_| {
                up_and_down::up_twice_then_down(out).await
            })
            .await
        {
            Ok(()) => cases.passed[Group::Cluster as usize] += 1,
            Err(error) => {
                out.error(&error);
                cases.failed += 1;
            }
        }
    } else {
        cases.deselected += 1;
    }
    if let Some(only) = only
        && cases.total() + cases.failed == 0
    {
        // Nothing ran: that is no success, it is a word that no case has.
        out.error(&anyhow::anyhow!("no case has a sentence that contains `{only}`"));
        cases.failed = 1;
    }
    let (passed, failed) = (counts.passed + cases.total(), counts.failed + cases.failed);
    let mut text = String::from("\ntimes\n");
    for (step, time) in out.times() {
        text.push_str(&format!("{:>14}  {step}\n", seconds(time)));
    }
    text.push_str(&format!("\nworkspace {}\n", counts.passed));
    for group in Group::ALL {
        text.push_str(&format!("{group} {}\n", cases.passed[group as usize]));
    }
    text.push_str(&format!(
        "skipped {}\n{passed} passed, {failed} failed\n",
        counts.ignored + cases.deselected
    ));
    // Closed by a reader who has seen enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn cargo_test(stores: &Stores, out: &Output) -> Counts {
    let result = out
        .step("Testing", "the workspace", async |_| {
            let mut command = Exec::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .args([
                    "test",
                    "--workspace",
                    "--locked",
                    "--no-fail-fast",
                    "--features",
                    FEATURE,
                ])
                .dir(checkout())
                .deadline(CARGO_DEADLINE);
            for (name, value) in stores.variables()? {
                command = command.env(name, value);
            }
            let finished = command.output().await?;
            let counts = count(&finished.stdout);
            if !finished.status.success() {
                out.text(&failures(&finished));
            }
            anyhow::Ok((counts, finished.status.success()))
        })
        .await;
    match result {
        // A test program that does not compile or dies has no summary line: the part failed all the same.
        Ok((counts, success)) if !success => Counts {
            failed: counts.failed.max(1),
            ..counts
        },
        Ok((counts, _)) => counts,
        Err(error) => {
            out.error(&error);
            Counts {
                failed: 1,
                ..Counts::default()
            }
        }
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

/// What cargo said, without the tests that passed and the crates that compiled.
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
