//! The memory of probes that fail: since when, for which generation. Losing it costs time, never correctness.
//!
//! Start at [`FailingProbes`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::subject::Subject;

/// How long an address that cannot be reached keeps Ready away.
const LONG: Duration = Duration::from_secs(10);

/// The Registries whose probes fail, by namespace and name.
#[derive(Debug, Default)]
pub struct FailingProbes(Mutex<HashMap<(String, String), FirstFailure>>);

/// The first failure since a success or a change of the spec.
#[derive(Clone, Copy, Debug)]
struct FirstFailure {
    generation: Option<i64>,
    at: Instant,
}

impl FailingProbes {
    /// Whether the probes of this generation have failed for long. The first failure starts the clock, and
    /// [`Self::succeeded`] stops it.
    pub(crate) fn for_long(&self, subject: &Subject, now: Instant) -> bool {
        let this = FirstFailure {
            generation: subject.generation,
            at: now,
        };
        let mut all = self.lock();
        let first = all.entry(subject.key()).or_insert(this);
        if first.generation != subject.generation {
            *first = this;
        }
        now.duration_since(first.at) >= LONG
    }

    /// The probes succeeded, or there is nothing to probe.
    pub(crate) fn succeeded(&self, subject: &Subject) {
        self.lock().remove(&subject.key());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), FirstFailure>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_probe_has_failed_does_not_depend_on_earlier_failures() {
        let failing = FailingProbes::default();
        let start = Instant::now();
        let for_long = |after: u32, generation| {
            let subject = Subject {
                generation: Some(generation),
                ..Default::default()
            };
            failing.for_long(&subject, start + LONG * after)
        };
        assert!(!for_long(0, 1), "the first failure starts the clock");
        assert!(for_long(1, 1));
        assert!(!for_long(1, 2), "what is asked for is new");
        failing.succeeded(&Subject::default());
        assert!(!for_long(9, 2), "a Pod was lost and came back long after");
        assert!(for_long(10, 2));
    }
}
