//! When the next reconcile comes: the delay after one that ended, and the growing delays of one that is retried, or that
//! waits for something of which no watch tells.
//!
//! Start at [`next`], [`Retries`] and [`Polls`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use operator_api::RegistryStatus;

use crate::conditions::STALLED;
use crate::error::Error;
use crate::fault::Fault;
use crate::findings::{Findings, Rollout};
use crate::report::{Outcome, STALLED_AFTER};
use crate::subject::Subject;
use crate::{apply, validate};

/// In case a watch lost something. A reconcile without changes writes nothing.
const RESYNC: Duration = Duration::from_secs(600);
/// While Pods start, in case a watch lost something.
const WHILE_ROLLING_OUT: Duration = Duration::from_secs(30);
/// While proxies do not know the Pods yet.
const WHILE_PROBE_FAILS: Duration = Duration::from_millis(500);
/// When the probe has failed for long. Each reconcile sends the API server some twenty requests.
const PROBE_FAILING_FOR_LONG: Duration = Duration::from_secs(5);
/// The first delay while an object of somebody else is in the way, or the API server refuses something. No watch covers
/// foreign objects, quotas, admission policies and the operator's own rights.
const FIRST_POLL: Duration = Duration::from_secs(5);
/// The longest of these delays.
const LAST_POLL: Duration = Duration::from_secs(300);
/// The first delay of a retry.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest delay of a retry.
const LAST_RETRY: Duration = Duration::from_secs(120);
/// After so many failures in a row a transient problem is reported.
const PERSISTENT: u32 = 5;

/// The failures in a row of each Registry. Losing them costs time, never correctness.
#[derive(Default)]
pub(super) struct Retries(Mutex<HashMap<(String, String), u32>>);

impl Retries {
    /// A reconcile ended without a failure, or the Registry is gone.
    pub(super) fn succeeded(&self, subject: &Subject) {
        self.lock().remove(&subject.key());
    }

    /// Whether this Registry's reconciles have failed several times in a row.
    pub(super) fn persistent(&self, subject: &Subject) -> bool {
        let failures = self.lock().get(&subject.key()).copied();
        failures.is_some_and(|failures| failures >= PERSISTENT)
    }

    /// Counts a failure and gives the delay until the retry.
    pub(super) fn next(&self, subject: &Subject, fault: Fault) -> Duration {
        let failures = {
            let mut all = self.lock();
            let failures = all.entry(subject.key()).or_default();
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

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), u32>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often in a row each Registry was looked at because no watch tells of what it waits for. A change of its spec
/// starts the count again.
#[derive(Default)]
pub(super) struct Polls(Mutex<HashMap<(String, String), Poll>>);

#[derive(Clone, Copy)]
struct Poll {
    generation: Option<i64>,
    count: u32,
}

impl Polls {
    /// Nothing has to be polled any more, or the Registry is gone.
    pub(super) fn end(&self, subject: &Subject) {
        self.lock().remove(&subject.key());
    }

    /// Counts, and gives the delay until the next look.
    pub(super) fn next(&self, subject: &Subject) -> Duration {
        let generation = subject.generation;
        let first = Poll { generation, count: 0 };
        let mut all = self.lock();
        let poll = all.entry(subject.key()).or_insert(first);
        if poll.generation != generation {
            *poll = first;
        }
        let delay = FIRST_POLL.saturating_mul(1 << poll.count.min(10)).min(LAST_POLL);
        poll.count = poll.count.saturating_add(1);
        jittered(delay)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Poll>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the outcome waits for something of which no watch tells.
pub(super) fn is_polled(outcome: &Outcome<'_>) -> bool {
    match outcome {
        Outcome::Failed { problems, .. } => problems
            .iter()
            .any(|error| after_problem(error, false) == Wait::Poll),
        Outcome::Applied { .. } | Outcome::Paused { .. } => false,
    }
}

/// When the next reconcile comes after `outcome` was reported: at the renewal of a certificate at the latest.
pub(super) fn next(
    outcome: &Outcome<'_>,
    next_renewal: Option<Timestamp>,
    status: &RegistryStatus,
    now: Timestamp,
    poll: impl FnOnce() -> Duration,
) -> Action {
    let usual = match outcome {
        Outcome::Paused { .. } => return Action::await_change(),
        Outcome::Applied { findings, .. } => Some(jittered(after_success(findings))),
        Outcome::Failed { problems, .. } => {
            let stalled = status.conditions.iter();
            let stalled = stalled.filter(|c| c.type_ == STALLED).any(|c| c.status == "True");
            let waits = || problems.iter().map(|error| after_problem(error, stalled));
            let polled = waits().any(|wait| wait == Wait::Poll).then(poll);
            let fixed = waits().filter_map(|wait| match wait {
                Wait::For(delay) => Some(jittered(delay)),
                Wait::Change | Wait::Poll => None,
            });
            fixed.chain(polled).min()
        }
    };
    let renewal = next_renewal.map(|due| {
        let delay = Duration::try_from(due.duration_since(now)).unwrap_or(FIRST_RETRY);
        delay.max(FIRST_RETRY)
    });
    match usual.into_iter().chain(renewal).min() {
        Some(delay) => Action::requeue(delay),
        None => Action::await_change(),
    }
}

/// The delay when everything was applied.
fn after_success(findings: &Findings) -> Duration {
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

/// How a problem that was reported is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    /// A change of the Registry or of an object that is watched starts a reconcile, or it is retried anyway.
    Change,
    /// A fixed delay.
    For(Duration),
    /// Growing delays.
    Poll,
}

fn after_problem(error: &Error, stalled: bool) -> Wait {
    let foreign = matches!(
        error,
        Error::Validate(validate::Error::Foreign(_)) | Error::Apply(apply::Error::Foreign(_))
    );
    match (error, error.fault()) {
        (_, Fault::Transient { .. }) => Wait::Change,
        (_, Fault::Permanent) => Wait::For(RESYNC),
        (_, Fault::Waiting) if foreign => Wait::Poll,
        // An admission policy that refuses an object may be changed, of which no watch tells.
        (Error::Read(_) | Error::Issue(_) | Error::Apply(_), Fault::Waiting | Fault::Caller) => Wait::Poll,
        (Error::Validate(validate::Error::Unreadable { .. }), Fault::Waiting | Fault::Caller) => Wait::Poll,
        (Error::Validate(_), Fault::Caller) => Wait::Change,
        // A watch reports the missing object. This reconcile only turns Reconciling into Stalled.
        (Error::Validate(_), Fault::Waiting) if stalled => Wait::For(RESYNC),
        (Error::Validate(_), Fault::Waiting) => Wait::For(STALLED_AFTER + Duration::from_secs(1)),
    }
}

/// Up to a tenth more, so that many Registries do not come at the same time.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f32(1.0 + rand::random::<f32>() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::ProbeFailure;
    use crate::validate::Error as Invalid;

    fn harbour() -> Subject {
        Subject {
            namespace: "quay".to_owned(),
            name: "harbour".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_start_again_after_success() {
        let (retries, harbour) = (Retries::default(), harbour());
        let next = || retries.next(&harbour, Fault::Transient { retry_after: None });
        let first = next();
        assert!(first >= FIRST_RETRY && first < FIRST_RETRY * 2, "{first:?}");
        assert!(next() > first);
        let last = (0..20).fold(first, |_, _| next());
        assert!(last >= LAST_RETRY && last <= LAST_RETRY * 2, "{last:?}");
        assert!(retries.persistent(&harbour));
        retries.succeeded(&harbour);
        assert!(!retries.persistent(&harbour));
        assert!(next() < FIRST_RETRY * 2);
    }

    #[test]
    fn a_proxy_that_never_answers_as_the_registry_is_not_asked_twice_a_second_for_ever() {
        let pause = |probe_failing_for_long| {
            let findings = Findings {
                rollout: Rollout::Complete,
                available: true,
                ready_replicas: 1,
                reachable: true,
                probe_failure: Some(ProbeFailure::WrongAnswer("a portal".to_owned())),
                probe_failing_for_long,
                ..Default::default()
            };
            after_success(&findings)
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
            assert_eq!(after_problem(&refused, stalled), Wait::Poll);
        }
        let missing = Error::from(Invalid::ClaimMissing {
            name: "hold".to_owned(),
        });
        assert!(matches!(after_problem(&missing, false), Wait::For(delay) if delay > STALLED_AFTER));
        assert_eq!(after_problem(&missing, true), Wait::For(RESYNC));
    }

    #[test]
    fn what_no_watch_tells_of_is_looked_for_soon_and_then_less_and_less_often() {
        let (polls, harbour) = (Polls::default(), harbour());
        let first = polls.next(&harbour);
        assert!(first >= FIRST_POLL && first < FIRST_POLL * 2, "{first:?}");
        assert!(polls.next(&harbour) > first);
        let last = (0..20).fold(first, |_, _| polls.next(&harbour));
        assert!(last >= LAST_POLL && last < LAST_POLL * 2, "{last:?}");
        let changed = Subject {
            generation: Some(2),
            ..harbour.clone()
        };
        assert!(polls.next(&changed) < FIRST_POLL * 2, "the spec was changed");
        polls.next(&changed);
        polls.end(&changed);
        assert!(polls.next(&changed) < FIRST_POLL * 2, "it was gone meanwhile");
    }

    #[test]
    fn a_pause_the_server_asks_for_is_kept() {
        let asked = Duration::from_secs(60);
        let pause = Retries::default().next(
            &harbour(),
            Fault::Transient {
                retry_after: Some(asked),
            },
        );
        assert!(pause >= asked, "{pause:?}");
    }
}
