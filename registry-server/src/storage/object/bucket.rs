//! Whether an object is missing, or its whole bucket.
//!
//! The answer to a HEAD has no words, and not every store says in others what is missing. So a missing object counts only
//! where the bucket is known to be there: by anything it gave a moment ago, or by a list.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Object;
use crate::storage::{Error, StorageKey};

/// How long an answer shows that a bucket is there. Longer than the pause between two checks of health, each of which
/// lists: so that a server costs no request more.
const SHOWN_FOR: Duration = Duration::from_secs(15);

/// When a bucket was seen last. Clones are the same knowledge.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Instant>>>);

impl Seen {
    /// It gave something, or took it.
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn lately(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < SHOWN_FOR)
    }
}

impl Object {
    /// What an error of a read means for an object. One that says it is missing is asked for once more where the bucket
    /// may be.
    pub(super) async fn unread(
        &self,
        action: &'static str,
        key: &StorageKey,
        error: object_store::Error,
    ) -> Error {
        let error = self.classifier.classify(action, key, error);
        if !error.is_not_found()
            || (self.classifier.seen.lately() && self.classifier.store_health.problem().is_none())
        {
            return error;
        }
        match self.list_top().await {
            Ok(()) => error,
            Err(gone) => gone,
        }
    }

    /// The smallest list there is. Its answer is about the bucket, whatever it holds.
    pub(super) async fn list_top(&self) -> Result<(), Error> {
        let top = StorageKey::parse("docker")?;
        self.page(&top, true, None).await.map(drop)
    }
}
