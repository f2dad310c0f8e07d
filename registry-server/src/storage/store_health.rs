//! Whether a store takes writes, and a log line when that changes. A full disk refuses every push: a line for each push
//! would bury the one that matters.
//!
//! Drivers report failures and successes; readiness reads the result. Start at [`StoreHealth`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use super::error::GONE;
use crate::fault::chain;

/// A successful write ends a problem only when the last failure is this long ago. On a disk that is nearly full small
/// objects fit and large ones do not, and neither the log nor readiness should flicker.
const CALM: Duration = Duration::from_secs(10);

/// The same for a successful read, which shows less: a store may refuse writes alone. A server that writes does so more
/// often than this, so the time matters only for one that does not.
#[cfg(any(test, feature = "object-store"))]
const CALM_OF_READS: Duration = Duration::from_secs(60);

/// Whether a store takes writes, as far as the last calls show. Cheap to clone; all clones share one state.
#[derive(Debug, Clone, Default)]
pub struct StoreHealth(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether there is a problem. It is read at every write, so it must be cheap.
    known: AtomicBool,
    refused: Mutex<Option<Refused>>,
}

#[derive(Debug)]
struct Refused {
    why: &'static str,
    last: Instant,
}

impl StoreHealth {
    /// The reason why the store takes no writes, if it takes none.
    pub fn problem(&self) -> Option<&'static str> {
        self.refused().as_ref().map(|refused| refused.why)
    }

    /// Notes a call that failed. An error of one object alone is no problem of the store.
    pub(crate) fn note_failure(&self, store: &str, error: &Error) {
        self.note_failure_at(store, error, Instant::now());
    }

    /// Notes a successful write of at least one byte.
    pub(super) fn note_write(&self, store: &str) {
        if self.0.known.load(Ordering::Relaxed) {
            self.note_success_at(store, Instant::now(), CALM);
        }
    }

    /// Notes a successful read.
    #[cfg(feature = "object-store")]
    pub(super) fn note_read(&self, store: &str) {
        if self.0.known.load(Ordering::Relaxed) {
            self.note_success_at(store, Instant::now(), CALM_OF_READS);
        }
    }

    /// Notes that the store exists. It ends the problem of a missing store; no write is needed for that.
    pub(super) fn note_present(&self, store: &str) {
        if !self.0.known.load(Ordering::Relaxed) {
            return;
        }
        let mut refused = self.refused();
        if refused.as_ref().is_some_and(|refused| refused.why == GONE) {
            *refused = None;
            self.0.known.store(false, Ordering::Relaxed);
            tracing::info!(store, "the store is there again");
        }
    }

    fn note_failure_at(&self, store: &str, error: &Error, now: Instant) {
        let Some(why) = error.refusal() else { return };
        let mut refused = self.refused();
        if refused.as_ref().map(|refused| refused.why) != Some(why) {
            tracing::error!(
                store,
                error = chain(error),
                "{why}: nothing can be pushed until that changes"
            );
        }
        *refused = Some(Refused { why, last: now });
        self.0.known.store(true, Ordering::Relaxed);
    }

    fn note_success_at(&self, store: &str, now: Instant, calm: Duration) {
        let mut refused = self.refused();
        if refused
            .as_ref()
            .is_some_and(|refused| now.saturating_duration_since(refused.last) >= calm)
        {
            *refused = None;
            self.0.known.store(false, Ordering::Relaxed);
            tracing::info!(store, "the store takes writes again");
        }
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::storage::StorageKey;

    fn error(kind: io::ErrorKind) -> Error {
        Error::io("write", &StorageKey::parse("a").unwrap(), kind.into())
    }

    #[test]
    fn a_refused_write_is_known_until_one_goes_well_some_time_after_the_last() {
        let health = StoreHealth::default();
        let start = Instant::now();
        health.note_write("a store");
        assert_eq!(health.problem(), None);
        health.note_failure_at("a store", &error(io::ErrorKind::StorageFull), start);
        assert_eq!(health.problem(), Some("storage full"));
        // A small one may fit where a large one did not.
        health.note_success_at("a store", start + CALM / 2, CALM);
        assert_eq!(health.problem(), Some("storage full"));
        health.note_failure_at("a store", &error(io::ErrorKind::ReadOnlyFilesystem), start + CALM);
        assert_eq!(health.clone().problem(), Some("storage read-only"));
        health.note_success_at("a store", start + CALM + CALM / 2, CALM);
        assert_eq!(health.problem(), Some("storage read-only"));
        health.note_success_at("a store", start + CALM * 2, CALM);
        assert_eq!(health.problem(), None);
    }

    #[test]
    fn a_server_that_only_reads_is_ready_again_once_reads_go_well_for_a_while() {
        let health = StoreHealth::default();
        let start = Instant::now();
        health.note_failure_at("a store", &error(io::ErrorKind::StorageFull), start);
        health.note_success_at("a store", start + CALM * 2, CALM_OF_READS);
        assert_eq!(health.problem(), Some("storage full"));
        health.note_success_at("a store", start + CALM_OF_READS, CALM_OF_READS);
        assert_eq!(health.problem(), None);
    }

    #[test]
    fn an_error_of_one_object_is_no_problem_of_the_store() {
        let health = StoreHealth::default();
        for kind in [
            io::ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::Other,
        ] {
            health.note_failure("a store", &error(kind));
            assert_eq!(health.problem(), None, "{kind}");
        }
    }
}
