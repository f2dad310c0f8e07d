//! `cargo xtask soak`: tests that take too long for every run. Run before a release; its output goes into
//! docs/soak.md.
//!
//! Guarantees: the tests are those of the ordinary run with more work each; the last line is `N passed, N failed`.
//! Must not: test anything the ordinary run does not test at all. Start at [`soak`].

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use e2e::cases::attacks;
use e2e::exec::Exec;
use e2e::images::checkout;
use e2e::output::{Output, Timed, seconds};
use e2e::{sample, tools};

use super::test::{Counts, cargo, count, failures};

/// A time limit longer than any step takes on two cores.
const DEADLINE: Duration = Duration::from_secs(4 * 3600);

/// Tests of the workspace that take a number from the environment.
struct Soak {
    name: &'static str,
    packages: &'static [&'static str],
    /// The argument of `cargo test` for the kind of test.
    target: &'static [&'static str],
    /// A filter that matches the names of the tests.
    filter: &'static str,
    variable: &'static str,
    value: &'static str,
}

const SOAKS: [Soak; 6] = [
    Soak {
        name: "200,000 texts that are almost right through each parser",
        packages: &["registry-oci", "registry-config", "registry-server"],
        target: &["--lib"],
        filter: "mutated",
        variable: "PROPTEST_CASES",
        value: "200000",
    },
    Soak {
        name: "an operator that dies at every one of its writes",
        packages: &["operator"],
        target: APISERVER,
        filter: "crash::",
        variable: sample::VARIABLE,
        value: "all",
    },
    Soak {
        name: "a change of every field of every child, put back",
        packages: &["operator"],
        target: APISERVER,
        filter: "put_back::every_field",
        variable: sample::VARIABLE,
        value: "all",
    },
    Soak {
        name: "1,000 Registries without a write for ten minutes",
        packages: &["operator"],
        target: APISERVER,
        filter: "still::",
        variable: "BERTH_QUIET",
        value: "1000/600",
    },
    Soak {
        name: "an API server that is away for ten minutes",
        packages: &["operator"],
        target: APISERVER,
        filter: "faults::what_happens_while",
        variable: "BERTH_API_SERVER_AWAY",
        value: "600",
    },
    Soak {
        name: "the operator with the oldest Kubernetes",
        packages: &["operator"],
        target: APISERVER,
        filter: "",
        variable: tools::KUBERNETES,
        value: "oldest",
    },
];

/// The operator's tests on a real API server.
const APISERVER: &[&str] = &["--test", "apiserver"];

/// Cases of the suite that take their amount of work, or the cluster's release, from the environment.
struct CaseSoak {
    name: &'static str,
    /// The arguments of `cargo xtask test` that choose them.
    args: [&'static str; 2],
    variable: &'static str,
    value: &'static str,
}

const CASES: [CaseSoak; 5] = [
    CaseSoak {
        name: "6 GiB to a bucket, more than one request copies",
        args: ["--only", "a large layer goes to a bucket"],
        variable: "BERTH_LARGE_LAYER_MIB",
        value: "6144",
    },
    CaseSoak {
        name: "every attack with the numbers seen in the wild",
        args: ["--only", "nobody holds the server up"],
        variable: attacks::VARIABLE,
        value: "long",
    },
    CaseSoak {
        name: "a kill before every call that changes the store",
        args: ["--only", "a kill at any system call"],
        variable: sample::VARIABLE,
        value: "all",
    },
    CaseSoak {
        name: "a loss of power at every moment",
        args: ["--only", "a loss of power at any moment"],
        variable: sample::VARIABLE,
        value: "all",
    },
    CaseSoak {
        name: "every case that needs a cluster, with the oldest Kubernetes",
        args: ["--cluster", "local"],
        variable: tools::KUBERNETES,
        value: "oldest",
    },
];

impl CaseSoak {
    /// Runs the cases in a suite of their own and prints its notes. Gives whether they passed.
    async fn run(&self, out: &Output) -> Result<bool> {
        let command = Exec::new(std::env::current_exe()?)
            .arg("test")
            .args(self.args)
            .env(self.variable, self.value)
            .dir(checkout())
            .deadline(DEADLINE);
        out.step("Running", self.name, async |_| {
            let finished = command.output().await?;
            let success = finished.status.success();
            if success {
                let notes = finished
                    .stderr
                    .lines()
                    .filter(|line| line.trim_start().starts_with('·'));
                out.text(&notes.collect::<Vec<_>>().join("\n"));
            } else {
                out.text(&finished.all());
            }
            Ok(success)
        })
        .await
    }
}

pub(crate) async fn soak(out: &Output) -> Result<ExitCode> {
    let mut total = Counts::default();
    for soak in &SOAKS {
        let mut command = Exec::new(cargo())
            .args(["test", "--locked", "--no-fail-fast"])
            .args(soak.target);
        for package in soak.packages {
            command = command.args(["--package", package]);
        }
        let command = command
            .arg(soak.filter)
            .args(["--", "--nocapture"])
            .env(soak.variable, soak.value)
            .dir(checkout())
            .deadline(DEADLINE);
        let ran = out
            .step("Running", soak.name, async |_| {
                let finished = command.output().await?;
                let mut counts = count(&finished.stdout);
                if !finished.status.success() {
                    out.text(&failures(&finished));
                    counts.failed = counts.failed.max(1);
                }
                Ok(counts)
            })
            .await?;
        total.passed += ran.passed;
        total.failed += ran.failed;
    }
    for soak in &CASES {
        match soak.run(out).await? {
            true => total.passed += 1,
            false => total.failed += 1,
        }
    }
    match super::features::features(out).await {
        Ok(()) => total.passed += 1,
        Err(error) => {
            out.error(&error);
            total.failed += 1;
        }
    }
    let mut text = String::from("\ntimes\n");
    for Timed { verb, what, time } in out.times() {
        text.push_str(&format!("{:>14}  {verb} {what}\n", seconds(time)));
    }
    text.push_str(&format!("\n{} passed, {} failed\n", total.passed, total.failed));
    // A reader that has seen enough closes the pipe.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    Ok(match total.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
