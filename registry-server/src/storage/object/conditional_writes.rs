//! Whether a store supports conditional writes.
//!
//! `If-None-Match` and `If-Match` came late to S3, and not every store with its protocol supports them. When a store answers
//! 501 and the same write without a condition succeeds, no further conditional write is sent. The condition is checked before
//! each write instead. Then of two writers at the same moment the last one wins, whatever was expected.
//! A store that silently ignores the headers cannot be recognised; there the last writer wins too.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a store turned out not to support conditional writes.
#[derive(Debug, Default)]
pub(super) struct ConditionalWrites {
    unknown: AtomicBool,
}

impl ConditionalWrites {
    /// Whether it turned out so.
    pub(super) fn are_unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Notes that a conditional write failed and the same write without a condition succeeded.
    pub(super) fn turned_out_unknown(&self, store: &str) {
        if !self.unknown.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                store,
                "the store does not know conditional writes: of two writers at the same moment the last one wins, \
                 and a push may have to be begun again"
            );
        }
    }
}
