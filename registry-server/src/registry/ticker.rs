//! When a long maintenance run reports its progress, and when it gives up on a store that does not answer.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// When this many requests fail one after the other, the store does not answer.
const FAILURES_MAX: u32 = 20;

/// How often progress is reported while large blobs are read.
const INTERVAL: Duration = Duration::from_millis(100);

/// The ticker of one maintenance run.
#[derive(Debug)]
pub(super) struct Ticker {
    tick: Interval,
    failed: u32,
}

impl Ticker {
    pub(super) fn new() -> Self {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tick, failed: 0 }
    }

    /// The next result of a stream. `say` is called at intervals until it is there.
    pub(super) async fn next<T>(
        &mut self,
        looks: &mut (impl Stream<Item = T> + Unpin),
        mut say: impl FnMut(),
    ) -> Option<T> {
        loop {
            tokio::select! {
                biased;
                look = looks.next() => return look,
                _ = self.tick.tick() => say(),
            }
        }
    }

    /// The store answered a request.
    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// A request failed. Returns how many failed in a row when those are too many.
    pub(super) fn failed_too_often(&mut self) -> Option<u32> {
        self.failed += 1;
        (self.failed >= FAILURES_MAX).then_some(self.failed)
    }
}
