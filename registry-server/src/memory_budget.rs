//! A limit in bytes on the memory that all requests together use for their bodies.
//!
//! Guarantees: all shares together never have more bytes than the budget; requests that wait for a share are served in
//! the order of their arrival.
//! Must not: hold the bytes themselves. Start at [`MemoryBudget`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget. A clone is another handle of the same budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Semaphore>);

/// A part of a budget. Dropping it gives its bytes back.
#[derive(Debug, Default)]
pub struct MemoryShare(Option<OwnedSemaphorePermit>);

impl MemoryBudget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// The number of bytes that are free.
    pub fn left(&self) -> usize {
        self.0.available_permits()
    }

    /// Takes bytes if they are free now. Requests that wait already come first.
    pub fn try_take(&self, bytes: u32) -> Option<MemoryShare> {
        let permit = Arc::clone(&self.0).try_acquire_many_owned(bytes).ok()?;
        Some(MemoryShare(Some(permit)))
    }

    /// Takes bytes, and waits for them until `timeout`.
    pub async fn take(&self, bytes: u32, timeout: Duration) -> Option<MemoryShare> {
        let permit = Arc::clone(&self.0).acquire_many_owned(bytes);
        let permit = tokio::time::timeout(timeout, permit).await.ok()?.ok()?;
        Some(MemoryShare(Some(permit)))
    }
}

impl MemoryShare {
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
        let budget = MemoryBudget::new(100);
        let mut share = budget.try_take(60).unwrap();
        assert!(budget.try_take(60).is_none());
        share.add(budget.take(40, SOON).await.unwrap());
        assert_eq!(budget.left(), 0);
        assert!(budget.take(1, SOON).await.is_none());
        drop(share);
        assert_eq!(budget.left(), 100);
        let mut share = MemoryShare::default();
        share.add(budget.try_take(10).unwrap());
        share.add(MemoryShare::default());
        assert_eq!(budget.left(), 90);
    }

    #[tokio::test]
    async fn more_than_the_whole_budget_is_never_given() {
        let budget = MemoryBudget::new(100);
        assert!(budget.take(101, SOON).await.is_none());
        assert_eq!(budget.left(), 100);
    }
}
