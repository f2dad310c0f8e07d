//! Which case runs when.
//!
//! Guarantees: `at_once` cases run side by side at most, each begun in its turn; those that are `alone` run one by one when
//! the others have ended; the text of a case is printed in one piece when it ends. Must not: know what a case does.
//! Start at [`run`].

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Error, Result};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::{Case, Summary};
use crate::output::Output;

/// Runs the cases whose sentence contains `only` (all, without it). `work` runs one of them and gives why it failed.
///
/// Each case has a thread of its own: some compute for seconds between two waits, and would hold up the others.
///
/// # Errors
/// That of `work`, which ends the run: no case is begun any more.
pub(super) fn run<'a>(
    cases: impl Iterator<Item = &'a Case>,
    only: Option<&str>,
    at_once: usize,
    work: impl AsyncFn(&Case, &Output) -> Result<Option<Error>> + Sync,
    out: &Output,
) -> Result<Summary> {
    let (meant, deselected): (Vec<&Case>, Vec<&Case>) = cases.partition(|case| case.is_meant(only));
    let (alone, shared): (VecDeque<&Case>, VecDeque<&Case>) = meant.into_iter().partition(|case| case.alone);
    let summary = Summary {
        deselected: deselected.len(),
        ..Summary::default()
    };
    let state = Mutex::new((summary, None));
    let runtime = Handle::current();
    let one = |case: &Case| {
        let own = out.hold();
        let result = runtime.block_on(work(case, &own));
        own.release();
        let (summary, error) = &mut *lock(&state);
        match result {
            Ok(None) => summary.passed[case.group as usize] += 1,
            Ok(Some(failure)) => summary.fail(case.name, &failure),
            Err(ended) => {
                error.get_or_insert(ended);
            }
        }
    };
    for (queue, threads) in [(shared, at_once), (alone, 1)] {
        let queue = Mutex::new(queue);
        let next = || {
            let is_over = lock(&state).1.is_some();
            if is_over { None } else { lock(&queue).pop_front() }
        };
        block_in_place(|| {
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        while let Some(case) = next() {
                            one(case);
                        }
                    });
                }
            });
        });
    }
    match state.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (summary, None) => Ok(summary),
        (_, Some(error)) => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::runner::{Bench, Group, Run};

    fn case(name: &'static str, alone: bool) -> Case {
        Case {
            group: Group::Client,
            name,
            run: Run::OnMachine(|_: &Bench<'_>| Box::pin(async { Ok(()) })),
            alone,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn cases_run_side_by_side_and_one_that_is_alone_by_itself() {
        let cases = ["a", "b", "alone", "c", "d", "other"].map(|name| case(name, name == "alone"));
        let running = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let work = async |case: &Case, _: &Output| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            assert!(!case.alone || now == 1, "{now} cases run beside `alone`");
            tokio::time::sleep(Duration::from_millis(20)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok((case.name == "b").then(|| anyhow::anyhow!("broken\nin two lines")))
        };
        let summary = run(cases.iter().take(5), None, 2, work, &Output::new()).unwrap();
        assert_eq!(most.into_inner(), 2);
        assert_eq!(summary.total(), 4);
        assert_eq!(summary.failures, ["b: broken"]);
        assert_eq!(summary.deselected, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_report_that_cannot_be_written_ends_the_run() {
        let cases = ["a", "b", "c"].map(|name| case(name, false));
        let begun = AtomicUsize::new(0);
        let work = async |_: &Case, _: &Output| {
            begun.fetch_add(1, Ordering::SeqCst);
            Err(anyhow::anyhow!("no space"))
        };
        let error = run(cases.iter(), None, 1, work, &Output::new()).unwrap_err();
        assert_eq!(error.to_string(), "no space");
        assert_eq!(begun.into_inner(), 1);
    }
}
