//! A number of bytes that requests share, for what they must hold in memory.
//!
//! Guarantees: all shares together never have more bytes than the budget; those who wait are served in the order in
//! which they came. Must not: hold the bytes themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes to be shared. A clone is another handle of the same ones.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

/// Bytes of a budget; dropping it gives them back.
#[derive(Debug, Default)]
pub struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    /// This many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// How many bytes nobody has.
    pub fn left(&self) -> usize {
        self.0.available_permits()
    }

    /// Takes bytes if they are there at once. Those who wait already come first.
    pub fn try_take(&self, bytes: u32) -> Option<Share> {
        let permit = Arc::clone(&self.0).try_acquire_many_owned(bytes).ok()?;
        Some(Share(Some(permit)))
    }

    /// Takes bytes, waiting for them for so long at most.
    pub async fn take(&self, bytes: u32, patience: Duration) -> Option<Share> {
        let permit = Arc::clone(&self.0).acquire_many_owned(bytes);
        let permit = tokio::time::timeout(patience, permit).await.ok()?.ok()?;
        Some(Share(Some(permit)))
    }
}

impl Share {
    /// Adds the bytes of another share of the same budget.
    pub fn add(&mut self, more: Self) {
        match (&mut self.0, more.0) {
            (Some(mine), Some(more)) => mine.merge(more),
            (none, more) => *none = more.or(none.take()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn shares_come_out_of_one_budget_and_go_back_into_it() {
        let budget = Budget::new(100);
        let mut share = budget.try_take(60).unwrap();
        assert!(budget.try_take(60).is_none());
        share.add(budget.take(40, SOON).await.unwrap());
        assert_eq!(budget.left(), 0);
        assert!(budget.take(1, SOON).await.is_none());
        drop(share);
        assert_eq!(budget.left(), 100);
        let mut share = Share::default();
        share.add(budget.try_take(10).unwrap());
        share.add(Share::default());
        assert_eq!(budget.left(), 90);
    }

    #[tokio::test]
    async fn more_than_the_whole_budget_is_never_given() {
        let budget = Budget::new(100);
        assert!(budget.take(101, SOON).await.is_none());
        assert_eq!(budget.left(), 100);
    }
}
