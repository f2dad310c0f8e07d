//! The record of each reconcile: its span in the log, its metrics, and its entry among the recent ones.
//!
//! Guarantees: every reconcile that begins is told to have ended, also one that is given up half-way. Must not: know a step.
//! Start at [`Telemetry`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::Span;

use crate::metrics::Metrics;
use crate::recent::{RecentReconciles, Reconcile, Trigger};
use crate::subject::Subject;

/// Metrics and recent reconciles. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// The metrics.
    pub metrics: Metrics,
    /// The recent reconciles.
    pub recent: RecentReconciles,
    last_id: Arc<AtomicU64>,
}

impl Telemetry {
    /// A reconcile begins. The caller enters its span and ends it.
    pub(crate) fn begin(&self, subject: &Subject) -> RunningReconcile {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (namespace, registry) = subject.key();
        let waited = self.metrics.begun(&subject.key());
        RunningReconcile {
            telemetry: self.clone(),
            span: tracing::info_span!("reconcile", namespace, registry, reconcile = id),
            id,
            key: subject.key(),
            trigger: waited.map_or(Trigger::Schedule, |_| Trigger::Change),
            began: Timestamp::now(),
            since: Instant::now(),
            ended: false,
        }
    }
}

/// A reconcile that runs.
pub(crate) struct RunningReconcile {
    telemetry: Telemetry,
    /// The span of its log lines.
    pub(crate) span: Span,
    id: u64,
    key: (String, String),
    trigger: Trigger,
    began: Timestamp,
    since: Instant,
    ended: bool,
}

impl RunningReconcile {
    /// Ends it with `reason`: that of Ready, or of the error. The next one comes after `next`, if it has a time.
    pub(crate) fn end(mut self, success: bool, reason: &str, next: Option<Duration>) {
        self.ended = true;
        let duration = self.since.elapsed();
        let result = match success {
            true => "success",
            false => "error",
        };
        self.telemetry.metrics.ended(result, reason, duration);
        let (namespace, name) = self.key.clone();
        self.telemetry.recent.add(Reconcile {
            id: self.id,
            namespace,
            name,
            trigger: self.trigger,
            began: self.began,
            duration_milliseconds: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            result,
            reason: reason.to_owned(),
            next: next.and_then(|next| Timestamp::now().checked_add(next).ok()),
        });
    }
}

impl Drop for RunningReconcile {
    fn drop(&mut self) {
        if !self.ended {
            self.telemetry.metrics.dropped();
        }
    }
}
