//! When the next reconcile comes: the delay after one that ended, and the growing delays of one that is retried, or that
//! waits for something of which no watch tells.
//!
//! Start at [`next`], [`Retries`] and [`Polls`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
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
    let polled = |error| after_problem(error) == Wait::Poll;
    !outcome.registry.paused && outcome.problems.iter().any(polled)
}

/// The delay until the next reconcile after `outcome` was reported: until the renewal or the end of a certificate, or until
/// what is waited for has been waited for too long, at the latest. `None` when only a change starts one.
pub(super) fn next(
    outcome: &Outcome<'_>,
    next_renewal: Option<Timestamp>,
    status: &RegistryStatus,
    now: Timestamp,
    poll: impl FnOnce() -> Duration,
) -> Option<Duration> {
    if outcome.registry.paused {
        return None;
    }
    let usual = match outcome.is_applied() {
        true => Some(jittered(after_success(outcome.findings))),
        false => {
            let waits = || outcome.problems.iter().map(after_problem);
            let polled = waits().any(|wait| wait == Wait::Poll).then(poll);
            let fixed = waits().filter_map(|wait| match wait {
                Wait::For(delay) => Some(jittered(delay)),
                Wait::Change | Wait::Poll => None,
            });
            fixed.chain(polled).min()
        }
    };
    let due = next_renewal.into_iter().chain(due(status, now));
    let due = due.map(|moment| {
        // The status has whole seconds.
        let delay = Duration::try_from(moment.duration_since(now)).unwrap_or_default();
        delay + Duration::from_secs(1)
    });
    usual.into_iter().chain(due).min()
}

/// The moments at which the status changes although nothing else does.
fn due(status: &RegistryStatus, now: Timestamp) -> impl Iterator<Item = Timestamp> {
    let mut conditions = status.conditions.iter();
    let stalled = conditions.any(|c| c.type_ == STALLED && c.status == "True");
    let since = status.waiting_since.as_ref().filter(|_| !stalled);
    let tls = status.tls.as_ref();
    let expires = tls.and_then(|tls| tls.not_after.as_ref()).map(|end| end.0);
    // A certificate that has expired is in the status already.
    let both = [
        since.map(|since| since.0 + STALLED_AFTER),
        expires.filter(|end| *end > now),
    ];
    both.into_iter().flatten()
}

/// The delay when everything was applied. An answer to a probe starts a reconcile of its own.
fn after_success(findings: &Findings) -> Duration {
    match findings.rollout == Rollout::Stuck || findings.rolled_out() {
        true => RESYNC,
        false => WHILE_ROLLING_OUT,
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

fn after_problem(error: &Error) -> Wait {
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
        // A watch reports the missing object.
        (Error::Validate(_), Fault::Waiting) => Wait::For(RESYNC),
    }
}

/// Up to a tenth more, so that many Registries do not come at the same time.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f32(1.0 + rand::random::<f32>() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_wait_that_becomes_too_long_and_a_certificate_that_ends_change_the_status_by_themselves() {
        let now: Timestamp = crate::fixtures::NOW.parse().unwrap();
        let status = |stalled: &str| -> RegistryStatus {
            serde_json::from_value(serde_json::json!({
                "waitingSince": now,
                "tls": { "notAfter": now + Duration::from_secs(9) },
                "conditions": [{
                    "type": "Stalled", "status": stalled, "reason": "A", "message": "", "lastTransitionTime": now,
                }],
            }))
            .unwrap()
        };
        let after = |moment: &str, seconds: u64| -> Vec<i64> {
            let at = now + Duration::from_secs(seconds);
            due(&status(moment), at)
                .map(|due| due.duration_since(now).as_secs())
                .collect()
        };
        assert_eq!(after("False", 0), [300, 9]);
        assert_eq!(after("True", 0), [9]);
        assert_eq!(after("True", 9), Vec::<i64>::new());
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
        assert_eq!(after_problem(&refused), Wait::Poll);
        let missing = Error::from(Invalid::ClaimMissing {
            name: "hold".to_owned(),
        });
        assert_eq!(after_problem(&missing), Wait::For(RESYNC));
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
