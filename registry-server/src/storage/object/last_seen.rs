//! When a bucket answered last, by which a missing object is told from a missing bucket.
//!
//! The answer to a HEAD has no error code, and in other answers not every store tells what is missing. So an object counts as
//! missing only if its bucket is known to exist: because it answered a moment ago, or by a list.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer shows that a bucket exists. It is longer than the interval of health checks, each of which makes a list,
/// so that a running server needs no additional request.
const SHOWN_FOR: Duration = Duration::from_secs(15);

/// When a bucket answered last. All clones share one state.
#[derive(Debug, Clone, Default)]
pub(super) struct LastSeen(Arc<Mutex<Option<Instant>>>);

impl LastSeen {
    /// Notes an answer.
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn lately(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < SHOWN_FOR)
    }
}
