//! Log lines about what may happen a thousand times a second: one a minute at most, with how often it happened. An attack
//! would fill the log as well otherwise.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two lines about the same thing.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Says something now and then, and counts how often it happened in between.
#[derive(Debug, Default)]
pub(crate) struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    /// How often it happened since it was said last, this time included, when it may be said now.
    pub(crate) fn now(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, count) = &mut *state;
        *count += 1;
        if said.is_some_and(|said| said.elapsed() < LINE_EVERY) {
            return None;
        }
        *said = Some(Instant::now());
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_met_a_thousand_times_is_one_line() {
        let rarely = Rarely::default();
        let said: Vec<u64> = (0..1000).filter_map(|_| rarely.now()).collect();
        assert_eq!(said, [1]);
        // A minute later it is said again, with how often it happened.
        rarely.0.lock().unwrap().0 = Instant::now().checked_sub(LINE_EVERY);
        assert_eq!(rarely.now(), Some(1000));
    }
}
