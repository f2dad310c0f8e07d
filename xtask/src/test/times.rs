//! The time of each test, worked out from when its line was printed.
//!
//! libtest prints no times on stable Rust. It begins the tests of a program in the order of their names, as many at once as
//! there are threads, and prints a line when a test ends. So a test begins when the one before it in that order has begun and a
//! thread is free, which is when some test ended.
//! Guarantees: exact to the delay of a pipe. Start at [`TestTimes`].

use std::time::{Duration, Instant};

use e2e::exec::Pipe;

/// A test with its program and its time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestTime {
    pub(crate) name: String,
    pub(crate) time: Duration,
}

/// Follows the lines of one `cargo test`.
#[derive(Debug)]
pub(crate) struct TestTimes {
    threads: usize,
    program: String,
    started: Option<Instant>,
    ended: Vec<(String, Instant)>,
    all: Vec<TestTime>,
    failures: Vec<String>,
}

impl Default for TestTimes {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            program: String::new(),
            started: None,
            ended: Vec::new(),
            all: Vec::new(),
            failures: Vec::new(),
        }
    }
}

impl TestTimes {
    /// The program whose tests run.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Takes a line that came at that moment.
    pub(crate) fn line(&mut self, pipe: Pipe, line: &str, now: Instant) {
        if pipe == Pipe::Stderr {
            if let Some(program) = program(line) {
                self.program = program;
            }
        } else if line.starts_with("running ") && line.trim_end_matches('s').ends_with(" test") {
            self.started = Some(now);
            self.ended.clear();
        } else if line.starts_with("test result: ") {
            self.program_ended();
        } else if let Some((name, result)) = test(line) {
            if result.starts_with("FAILED") {
                self.failures.push(format!("{}: {name}", self.program));
            }
            self.ended.push((name.to_owned(), now));
        }
    }

    /// Every test with its time, and a line for each that failed.
    pub(crate) fn finish(mut self) -> (Vec<TestTime>, Vec<String>) {
        self.program_ended();
        (self.all, self.failures)
    }

    fn program_ended(&mut self) {
        let Some(started) = self.started.take() else {
            return;
        };
        let mut order: Vec<&str> = self.ended.iter().map(|(name, _)| name.as_str()).collect();
        order.sort_unstable();
        let begun = |name: &str| {
            let place = order.binary_search(&name).unwrap_or_default();
            match place.checked_sub(self.threads) {
                None => started,
                Some(before) => self.ended[before].1,
            }
        };
        for (name, end) in &self.ended {
            self.all.push(TestTime {
                name: format!("{}: {name}", self.program),
                time: end.saturating_duration_since(begun(name)),
            });
        }
        self.ended.clear();
    }
}

/// The program in a line such as `     Running unittests src/lib.rs (target/debug/deps/registry_oci-3a8803738c9922fa)`.
fn program(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(library) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{library}'s examples"));
    }
    let (_, path) = line.strip_prefix("Running ")?.split_once(" (")?;
    let file = path.trim_end_matches(')').rsplit('/').next()?;
    let (name, _) = file.rsplit_once('-')?;
    Some(name.to_owned())
}

/// The name and the result in a line such as `test storage::key::tests::a_key_is_parsed ... ok`.
fn test(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((name.trim_end_matches(" - should panic"), result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_begins_when_a_thread_is_free() {
        let start = Instant::now();
        let mut times = TestTimes {
            threads: 2,
            ..TestTimes::default()
        };
        let lines = [
            (
                Pipe::Stderr,
                "     Running unittests src/lib.rs (/t/debug/deps/registry_oci-3a88)",
                0,
            ),
            (Pipe::Stdout, "running 4 tests", 1),
            // `a` and `b` begin at 1. `c` begins when `b` ends, `d` when `c` ends.
            (Pipe::Stdout, "test b ... ok", 3),
            (Pipe::Stdout, "test c ... FAILED", 4),
            (Pipe::Stdout, "test a has been running for over 60 seconds", 5),
            (Pipe::Stdout, "test a ... ok", 11),
            (Pipe::Stdout, "test d - should panic ... ok", 12),
            (
                Pipe::Stdout,
                "test result: FAILED. 3 passed; 1 failed; 0 ignored",
                12,
            ),
        ];
        for (pipe, line, second) in lines {
            times.line(pipe, line, start + Duration::from_secs(second));
        }
        let (times, failures) = times.finish();
        let times: Vec<_> = times
            .iter()
            .map(|test| (test.name.as_str(), test.time.as_secs()))
            .collect();
        let expected = [
            ("registry_oci: b", 2),
            ("registry_oci: c", 1),
            ("registry_oci: a", 10),
            ("registry_oci: d", 8),
        ];
        assert_eq!(times, expected);
        assert_eq!(failures, ["registry_oci: c"]);
    }
}
