//! A limit for log lines about an event that may happen a thousand times a second: at most one line a minute, with the
//! number of events. Without the limit, an attack would fill the log as well.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two lines about the same event.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Counts an event, and says when a line about it is due.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<(Option<Instant>, u64)>);

impl LogThrottle {
    /// Counts one event. If a line is due, gives the number of events since the last line, this one included.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last_line, count) = &mut *state;
        *count += 1;
        if last_line.is_some_and(|last_line| last_line.elapsed() < LINE_EVERY) {
            return None;
        }
        *last_line = Some(Instant::now());
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_met_a_thousand_times_is_one_line() {
        let throttle = LogThrottle::default();
        let due: Vec<u64> = (0..1000).filter_map(|_| throttle.count()).collect();
        assert_eq!(due, [1]);
        // A minute later the next line is due, with the count.
        throttle.0.lock().unwrap().0 = Instant::now().checked_sub(LINE_EVERY);
        assert_eq!(throttle.count(), Some(1000));
    }
}
