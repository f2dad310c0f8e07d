//! The ticker of maintenance that takes long: when to say how far it is, and when a store does not answer at all.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// So many looks that fail one after the other mean that the store does not answer.
const FAILURES_MAX: u32 = 20;

/// How often it is said how far the bytes of large blobs are.
const INTERVAL: Duration = Duration::from_millis(100);

/// The ticker of one run.
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

    /// The next of some looks; `say` is called every now and then while it takes.
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

    /// The store gave something.
    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// A look failed; tells how many did in a row when those are too many.
    pub(super) fn failed_too_often(&mut self) -> Option<u32> {
        self.failed += 1;
        (self.failed >= FAILURES_MAX).then_some(self.failed)
    }
}
