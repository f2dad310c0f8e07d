//! The content of the Lease, and when this replica may take it.
//!
//! Guarantees: pure; no time that is written in a Lease is compared with a clock of this machine. A holder's time is
//! counted from the moment at which this replica saw the Lease change last, as client-go does. Must not: talk to the API
//! server. Start at [`Observation`].

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;

/// The longest time that another replica's Lease is respected without a renewal, whatever somebody wrote into it.
const DURATION_MAX: Duration = Duration::from_secs(300);

/// The Lease as this replica saw it last.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// The Lease, `None` when it does not exist.
    lease: Option<Lease>,
    /// The last holder that did not release it, with the end of its time.
    held: Option<(String, Instant)>,
}

impl Observation {
    /// Notes what was read. Only a change of the spec renews the time of its holder; a label that somebody adds does not.
    pub(super) fn see(&mut self, lease: Option<Lease>, default_duration: Duration, now: Instant) {
        let before = self.lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        match spec {
            Some(spec) if Some(spec) != before || self.held.is_none() => {
                self.held = holder_of(spec)
                    .map(|holder| (holder.to_owned(), now + duration_of(spec, default_duration)));
            }
            // A Lease that was deleted was not released: its holder may still write until its time has gone.
            Some(_) | None => {}
        }
        self.lease = lease;
    }

    /// The Lease.
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The holder's name, if somebody holds it.
    pub(super) fn holder(&self) -> Option<&str> {
        holder_of(self.lease.as_ref()?.spec.as_ref()?)
    }

    /// When `identity` may take the Lease; `None` for at once.
    pub(super) fn free_at(&self, identity: &str) -> Option<Instant> {
        let (holder, until) = self.held.as_ref()?;
        (holder != identity).then_some(*until)
    }
}

fn holder_of(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity
        .as_deref()
        .filter(|holder| !holder.is_empty())
}

fn duration_of(spec: &LeaseSpec, default: Duration) -> Duration {
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(default, Duration::from_secs).min(DURATION_MAX)
}

/// The Lease as `identity` takes or renews it. Labels and annotations of others stay.
pub(super) fn held(
    current: Option<&Lease>,
    metadata: ObjectMeta,
    identity: &str,
    duration: Duration,
    now: Timestamp,
) -> Lease {
    let before = current.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let renewed = holder_of(&before) == Some(identity);
    let transitions = before.lease_transitions.unwrap_or(0);
    let now = MicroTime(now);
    Lease {
        metadata: current.map_or(metadata, |lease| lease.metadata.clone()),
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX).max(1)),
            acquire_time: match before.acquire_time {
                Some(acquired) if renewed => Some(acquired),
                _ => Some(now.clone()),
            },
            renew_time: Some(now),
            lease_transitions: Some(match current {
                Some(_) if !renewed => transitions.saturating_add(1),
                _ => transitions,
            }),
            ..before
        }),
    }
}

/// The Lease as its holder gives it back: the next replica takes it at once.
pub(super) fn released(current: &Lease, now: Timestamp) -> Lease {
    let spec = current.spec.clone().unwrap_or_default();
    Lease {
        metadata: current.metadata.clone(),
        spec: Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(now)),
            ..spec
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIFTEEN: Duration = Duration::from_secs(15);

    fn lease(holder: &str, renewed: i64) -> Lease {
        let now = Timestamp::from_second(renewed).unwrap();
        held(None, ObjectMeta::default(), holder, FIFTEEN, now)
    }

    #[test]
    fn a_lease_is_free_when_its_holder_has_been_seen_idle_for_its_duration() {
        let start = Instant::now();
        let mut seen = Observation::default();
        assert_eq!(seen.free_at("b"), None, "nobody holds it");
        // The holder's clock is years away: only our own counts.
        seen.see(Some(lease("a", 5)), FIFTEEN, start);
        assert_eq!(seen.free_at("b"), Some(start + FIFTEEN));
        assert_eq!(seen.free_at("a"), None);
        let later = start + Duration::from_secs(10);
        let mut labelled = lease("a", 5);
        labelled.metadata.labels = Some([("x".to_owned(), "y".to_owned())].into());
        seen.see(Some(labelled), FIFTEEN, later);
        assert_eq!(seen.free_at("b"), Some(start + FIFTEEN), "a label is no renewal");
        seen.see(Some(lease("a", 7)), FIFTEEN, later);
        assert_eq!(seen.free_at("b"), Some(later + FIFTEEN));
    }

    #[test]
    fn a_released_lease_is_free_and_a_deleted_one_is_not_before_its_holders_time() {
        let start = Instant::now();
        let mut seen = Observation::default();
        seen.see(Some(lease("a", 5)), FIFTEEN, start);
        seen.see(None, FIFTEEN, start);
        assert_eq!(seen.free_at("b"), Some(start + FIFTEEN));
        seen.see(Some(released(&lease("a", 5), Timestamp::now())), FIFTEEN, start);
        assert_eq!(seen.free_at("b"), None);
        seen.see(None, FIFTEEN, start);
        assert_eq!(seen.free_at("b"), None);
    }

    #[test]
    fn a_duration_of_somebody_cannot_hold_the_lease_for_ever() {
        let start = Instant::now();
        let mut edited = lease("somebody", 5);
        edited.spec.as_mut().unwrap().lease_duration_seconds = Some(i32::MAX);
        let mut seen = Observation::default();
        seen.see(Some(edited), FIFTEEN, start);
        assert_eq!(seen.free_at("b"), Some(start + DURATION_MAX));
    }

    #[test]
    fn renewing_keeps_when_it_was_acquired_and_taking_it_counts_a_transition() {
        let first = lease("a", 5);
        let at = |second| Timestamp::from_second(second).unwrap();
        let renewed = held(Some(&first), ObjectMeta::default(), "a", FIFTEEN, at(7))
            .spec
            .unwrap();
        assert_eq!(renewed.acquire_time, Some(MicroTime(at(5))));
        assert_eq!(renewed.renew_time, Some(MicroTime(at(7))));
        assert_eq!(renewed.lease_transitions, Some(0));
        let taken = held(Some(&first), ObjectMeta::default(), "b", FIFTEEN, at(9))
            .spec
            .unwrap();
        assert_eq!(taken.acquire_time, Some(MicroTime(at(9))));
        assert_eq!(taken.lease_transitions, Some(1));
    }
}
