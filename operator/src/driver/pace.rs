//! When the next pass comes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use operator_api::RegistryStatus;

use crate::observe::{Findings, Rollout};
use crate::report::{STALLED_AFTER, reason};
use crate::validate::Error as Invalid;
use crate::{Error, Fault};

/// In case a watch lost something. A pass without changes writes nothing.
const RESYNC: Duration = Duration::from_secs(600);
/// While Pods start, in case a watch lost something.
const WHILE_ROLLING_OUT: Duration = Duration::from_secs(30);
/// While proxies do not know the Pods yet.
const WHILE_SILENT: Duration = Duration::from_millis(500);
/// How long an address that cannot be reached from here keeps Ready away.
const PATIENCE: Duration = Duration::from_secs(10);
/// A stranger's object is under no watch of ours.
const FOREIGN_OBJECT: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(120);
/// After so many failures in a row a passing fault is worth a condition.
const PERSISTENT: u32 = 5;

/// A Registry by namespace and name.
type Key = (String, String);

/// What is remembered from pass to pass. Losing it costs time, never correctness.
#[derive(Default)]
pub(super) struct Pace {
    /// Failures in a row.
    failures: Mutex<HashMap<Key, u32>>,
    /// Since when a generation's addresses have not been reachable.
    silent: Mutex<HashMap<Key, (Option<i64>, Instant)>>,
}

impl Pace {
    /// There is no Registry any more.
    pub(super) fn forget_all(&self, namespace: &str, name: &str) {
        self.forget(namespace, name);
        lock(&self.silent).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Whether this generation's addresses have not been reachable for too long; the first question starts the clock.
    pub(super) fn out_of_patience(&self, namespace: &str, name: &str, generation: Option<i64>) -> bool {
        let mut all = lock(&self.silent);
        let entry = all
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert_with(|| (generation, Instant::now()));
        if entry.0 != generation {
            *entry = (generation, Instant::now());
        }
        entry.1.elapsed() >= PATIENCE
    }

    /// A pass went well.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        lock(&self.failures).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Whether this Registry's passes have failed several times in a row.
    pub(super) fn persistent(&self, namespace: &str, name: &str) -> bool {
        lock(&self.failures)
            .get(&(namespace.to_owned(), name.to_owned()))
            .is_some_and(|failures| *failures >= PERSISTENT)
    }

    /// Counts a failure and says how long to wait.
    pub(super) fn next(&self, namespace: &str, name: &str, fault: Fault) -> Duration {
        let failures = {
            let mut all = lock(&self.failures);
            let failures = all.entry((namespace.to_owned(), name.to_owned())).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        let backoff = FIRST_RETRY
            .saturating_mul(1 << (failures - 1).min(10))
            .min(LAST_RETRY);
        let asked = match fault {
            Fault::Transient { retry_after } => retry_after.unwrap_or_default(),
            Fault::Caller | Fault::Waiting | Fault::Permanent => Duration::ZERO,
        };
        jittered(backoff.max(asked))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves a whole value behind, even one that panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// After a pass that reached its end.
pub(super) fn after_success(findings: &Findings, renewal: Option<Timestamp>, now: Timestamp) -> Action {
    let usual = match (findings.up(), &findings.silence) {
        (true, Some(_)) => WHILE_SILENT,
        (true, None) => RESYNC,
        (false, _) if findings.rollout == Rollout::Stuck => RESYNC,
        // No replica is asked for.
        (false, _) if findings.rollout == Rollout::Complete && findings.replicas == 0 => RESYNC,
        (false, _) => WHILE_ROLLING_OUT,
    };
    let due = renewal.map(|due| {
        Duration::try_from(due.duration_since(now))
            .unwrap_or(FIRST_RETRY)
            .max(FIRST_RETRY)
    });
    Action::requeue(due.map_or_else(|| jittered(usual), |due| due.min(jittered(usual))))
}

/// After a failure that stands in the status. `None` for one that is tried again like an unreported one.
pub(super) fn after_report(error: &Error, status: &RegistryStatus) -> Option<Action> {
    match error.fault() {
        // Only a change of the Registry helps, and the watch brings it.
        Fault::Caller => Some(Action::await_change()),
        Fault::Transient { .. } => None,
        Fault::Permanent => Some(Action::requeue(jittered(RESYNC))),
        Fault::Waiting => {
            let stalled = status
                .conditions
                .iter()
                .any(|c| c.type_ == reason::STALLED && c.status == "True");
            let foreign = matches!(error, Error::Validate(Invalid::ForeignObject { .. }));
            Some(Action::requeue(match (foreign, stalled) {
                (true, _) => jittered(FOREIGN_OBJECT),
                (false, true) => jittered(RESYNC),
                // The watch tells when what is missing comes; this pass only turns Reconciling into Stalled.
                (false, false) => STALLED_AFTER + Duration::from_secs(1),
            }))
        }
    }
}

/// Up to a tenth more, so that many Registries do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f32(1.0 + rand::random::<f32>() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_start_again_after_success() {
        let pace = Pace::default();
        let next = || pace.next("quay", "harbour", Fault::Transient { retry_after: None });
        let first = next();
        assert!(first >= FIRST_RETRY && first < FIRST_RETRY * 2, "{first:?}");
        assert!(next() > first);
        let last = (0..20).fold(first, |_, _| next());
        assert!(last >= LAST_RETRY && last <= LAST_RETRY * 2, "{last:?}");
        assert!(pace.persistent("quay", "harbour"));
        pace.forget("quay", "harbour");
        assert!(!pace.persistent("quay", "harbour"));
        assert!(next() < FIRST_RETRY * 2);
    }

    #[test]
    fn a_pause_the_server_asks_for_is_kept() {
        let asked = Duration::from_secs(60);
        let pause = Pace::default().next(
            "quay",
            "harbour",
            Fault::Transient {
                retry_after: Some(asked),
            },
        );
        assert!(pause >= asked, "{pause:?}");
    }
}
