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
const WHILE_PROBE_FAILS: Duration = Duration::from_millis(500);
/// When they do not after [`PATIENCE`]: each pass asks the API server some twenty questions.
const PROBE_FAILING_FOR_LONG: Duration = Duration::from_secs(5);
/// How long an address that cannot be reached from here keeps Ready away.
const PATIENCE: Duration = Duration::from_secs(10);
/// A stranger's object is under no watch of ours.
const FOREIGN_OBJECT: Duration = Duration::from_secs(10);
/// What the API server refused: a quota, an admission policy and the operator's own rights are under no watch.
const REFUSED: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(120);
/// After so many failures in a row a passing fault is worth a condition.
const PERSISTENT: u32 = 5;

/// A Registry by namespace and name.
type Key = (String, String);

/// What is remembered from pass to pass. Losing it costs time, never correctness.
#[derive(Default)]
pub(super) struct Retries {
    /// Failures in a row.
    failures: Mutex<HashMap<Key, u32>>,
    /// Since when a generation's addresses have not been reachable.
    failing_probes: Mutex<HashMap<Key, (Option<i64>, Instant)>>,
}

impl Retries {
    /// There is no Registry any more.
    pub(super) fn forget_all(&self, namespace: &str, name: &str) {
        self.forget(namespace, name);
        self.probe_succeeded(namespace, name);
    }

    /// Whether this generation's addresses have not been reachable for too long; the first question starts the clock,
    /// and [`Self::probe_succeeded`] stops it.
    pub(super) fn out_of_patience(
        &self,
        namespace: &str,
        name: &str,
        generation: Option<i64>,
        now: Instant,
    ) -> bool {
        let mut all = lock(&self.failing_probes);
        let entry = all
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert((generation, now));
        if entry.0 != generation {
            *entry = (generation, now);
        }
        now.duration_since(entry.1) >= PATIENCE
    }

    /// The addresses answer, or there is nobody to answer: the next silence is a new one.
    pub(super) fn probe_succeeded(&self, namespace: &str, name: &str) {
        lock(&self.failing_probes).remove(&(namespace.to_owned(), name.to_owned()));
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
    let usual = usual(findings);
    let due = renewal.map(|due| {
        Duration::try_from(due.duration_since(now))
            .unwrap_or(FIRST_RETRY)
            .max(FIRST_RETRY)
    });
    Action::requeue(due.map_or_else(|| jittered(usual), |due| due.min(jittered(usual))))
}

/// When nothing is due.
fn usual(findings: &Findings) -> Duration {
    match (findings.up(), &findings.probe_failure) {
        (true, Some(_)) if findings.probe_failing_for_long => PROBE_FAILING_FOR_LONG,
        (true, Some(_)) => WHILE_PROBE_FAILS,
        (true, None) => RESYNC,
        (false, _) if findings.rollout == Rollout::Stuck => RESYNC,
        // No replica is asked for.
        (false, _) if findings.rollout == Rollout::Complete && findings.replicas == 0 => RESYNC,
        (false, _) => WHILE_ROLLING_OUT,
    }
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
            Some(Action::requeue(while_waiting(error, stalled)))
        }
    }
}

/// How long to wait for somebody to act when nobody does.
fn while_waiting(error: &Error, stalled: bool) -> Duration {
    match (error, stalled) {
        (Error::Validate(Invalid::ForeignObject { .. }), _) => jittered(FOREIGN_OBJECT),
        // The watch tells when what is missing comes; this pass only turns Reconciling into Stalled.
        (Error::Validate(_), false) => STALLED_AFTER + Duration::from_secs(1),
        (Error::Validate(_), true) => jittered(RESYNC),
        (Error::Read(_) | Error::Issue(_) | Error::Apply(_) | Error::Report(_), _) => jittered(REFUSED),
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
        let retries = Retries::default();
        let next = || retries.next("quay", "harbour", Fault::Transient { retry_after: None });
        let first = next();
        assert!(first >= FIRST_RETRY && first < FIRST_RETRY * 2, "{first:?}");
        assert!(next() > first);
        let last = (0..20).fold(first, |_, _| next());
        assert!(last >= LAST_RETRY && last <= LAST_RETRY * 2, "{last:?}");
        assert!(retries.persistent("quay", "harbour"));
        retries.forget("quay", "harbour");
        assert!(!retries.persistent("quay", "harbour"));
        assert!(next() < FIRST_RETRY * 2);
    }

    #[test]
    fn patience_with_a_silence_does_not_depend_on_earlier_ones() {
        let retries = Retries::default();
        let start = Instant::now();
        let spent = |after: u32, generation| {
            retries.out_of_patience("quay", "harbour", Some(generation), start + PATIENCE * after)
        };
        assert!(!spent(0, 1), "the first question starts the clock");
        assert!(spent(1, 1));
        assert!(!spent(1, 2), "what is asked for is new");
        retries.probe_succeeded("quay", "harbour");
        assert!(!spent(9, 2), "a Pod was lost and came back long after");
        assert!(spent(10, 2));
    }

    #[test]
    fn a_proxy_that_never_answers_as_the_registry_is_not_asked_twice_a_second_for_ever() {
        let pause = |probe_failing_for_long| {
            let findings = Findings {
                rollout: Rollout::Complete,
                available: true,
                ready_replicas: 1,
                reachable: true,
                probe_failure: Some(crate::probe::ProbeFailure::WrongAnswer("a portal".to_owned())),
                probe_failing_for_long,
                ..Default::default()
            };
            usual(&findings)
        };
        assert_eq!(pause(false), WHILE_PROBE_FAILS);
        assert_eq!(pause(true), PROBE_FAILING_FOR_LONG);
    }

    #[test]
    fn what_the_api_server_refuses_is_tried_again_soon_because_no_watch_tells() {
        let status = kube::core::Status {
            code: 403,
            reason: "Forbidden".to_owned(),
            ..Default::default()
        };
        let refused = Error::from(crate::apply::Error::Write {
            verb: "apply",
            kind: "Deployment".to_owned(),
            name: "harbour".to_owned(),
            source: Box::new(kube::Error::Api(Box::new(status))),
        });
        assert_eq!(refused.fault(), Fault::Waiting);
        for stalled in [false, true] {
            let pause = while_waiting(&refused, stalled);
            assert!(pause < Duration::from_secs(60), "{pause:?}");
        }
        let missing = Error::from(Invalid::ClaimMissing {
            name: "hold".to_owned(),
        });
        assert!(while_waiting(&missing, false) > STALLED_AFTER, "a watch tells");
        assert!(while_waiting(&missing, true) >= RESYNC);
    }

    #[test]
    fn a_pause_the_server_asks_for_is_kept() {
        let asked = Duration::from_secs(60);
        let pause = Retries::default().next(
            "quay",
            "harbour",
            Fault::Transient {
                retry_after: Some(asked),
            },
        );
        assert!(pause >= asked, "{pause:?}");
    }
}
