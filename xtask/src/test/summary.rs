//! The end of a run: what took longest, what failed, the counts.
//!
//! Start at [`text`].

use std::fmt::Write as _;
use std::time::Duration;

use e2e::output::{Timed, seconds};
use e2e::runner::{Group, Summary};

use super::workspace::Workspace;

/// How long each list is.
const SHOWN: usize = 20;

/// The verb of a case's step.
const CASE: &str = "Running";

pub(super) fn text(workspace: &Workspace, cases: &Summary, steps: &[Timed]) -> String {
    let mut text = String::new();
    let tests = workspace.times.iter().map(|test| (test.name.clone(), test.time));
    slowest(&mut text, "tests", tests.collect());
    let (ran, built): (Vec<&Timed>, Vec<&Timed>) = steps.iter().partition(|step| step.verb == CASE);
    let named = |steps: Vec<&Timed>, with_verb: bool| {
        let name = |step: &Timed| match with_verb {
            true => format!("{} {}", step.verb, step.what),
            false => step.what.clone(),
        };
        steps.into_iter().map(|step| (name(step), step.time)).collect()
    };
    slowest(&mut text, "cases", named(ran, false));
    slowest(&mut text, "builds and other steps", named(built, true));
    let failures: Vec<&String> = workspace.failures.iter().chain(&cases.failures).collect();
    if !failures.is_empty() {
        text.push_str("\nfailed\n");
    }
    for failure in &failures {
        let _ = writeln!(text, "  {failure}");
    }
    let counts = workspace.counts;
    let _ = writeln!(text, "\nworkspace {}", counts.passed);
    for group in Group::ALL {
        let _ = writeln!(text, "{group} {}", cases.passed[group as usize]);
    }
    let passed = counts.passed + cases.total();
    // cargo counts what failed too, and knows better where a test has the name of another.
    let failed = workspace.failures.len().max(counts.failed) + cases.failures.len();
    let skipped = counts.ignored + cases.deselected;
    let _ = writeln!(text, "skipped {skipped}\n{passed} passed, {failed} failed");
    text
}

/// The slowest of them, the slowest first.
fn slowest(text: &mut String, what: &str, mut times: Vec<(String, Duration)>) {
    if times.is_empty() {
        return;
    }
    times.sort_by(|(_, a), (_, b)| b.cmp(a));
    let _ = writeln!(text, "\nslowest {what}");
    for (name, time) in times.iter().take(SHOWN) {
        let _ = writeln!(text, "{:>14}  {name}", seconds(*time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::times::TestTime;
    use crate::test::workspace::Counts;

    #[test]
    fn the_end_names_what_was_slow_and_every_failure_before_the_counts() {
        let test = |name: &str, time| TestTime {
            name: name.into(),
            time: Duration::from_secs(time),
        };
        let workspace = Workspace {
            counts: Counts {
                passed: 2,
                failed: 1,
                ignored: 0,
            },
            failures: vec!["registry_oci: a".into()],
            times: vec![test("registry_oci: a", 1), test("registry_oci: b", 61)],
        };
        let mut cases = Summary {
            passed: [1, 0, 0],
            ..Summary::default()
        };
        cases.fail("a slow layer gets through", &anyhow::anyhow!("413\nsecond line"));
        let step = |verb: &str, what: &str, time| Timed {
            verb: verb.into(),
            what: what.into(),
            time: Duration::from_secs(time),
        };
        let steps = [
            step("Running", "a slow layer gets through", 30),
            step("Building", "both programs", 90),
        ];
        let expected = "\nslowest tests\n    1 min 01 s  registry_oci: b\n         1.0 s  registry_oci: a\n\
            \nslowest cases\n        30.0 s  a slow layer gets through\n\
            \nslowest builds and other steps\n    1 min 30 s  Building both programs\n\
            \nfailed\n  registry_oci: a\n  a slow layer gets through: 413\n\
            \nworkspace 2\ncluster 1\nclient 0\ncrash 0\nskipped 0\n3 passed, 2 failed\n";
        assert_eq!(text(&workspace, &cases, &steps), expected);
    }
}
