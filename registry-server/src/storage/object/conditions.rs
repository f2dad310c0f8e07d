//! Stores that do not know conditional writes.
//!
//! S3 learned `If-None-Match` and `If-Match` late, and not every store that speaks its protocol has. One that says so
//! (501) is believed once its unconditional write went well, and not asked again: what is expected is looked for
//! before each write instead. Then only of two writers at the same moment the last one wins, whatever was expected.
//! A store that passes over the headers without a word cannot be told from one that knows them; it lets the last win too.

use std::sync::atomic::{AtomicBool, Ordering};

use object_store::{GetOptions, PutMode};

use super::Object;
use crate::storage::{Error, StorageKey};

/// Whether a store said that it does not know conditions.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    unknown: AtomicBool,
}

impl Conditions {
    /// Whether it did.
    pub(super) fn are_unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }

    /// It did, and takes the same write without.
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

impl Object {
    /// Looks whether a write would meet what it expects.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when it would not, or the store's.
    pub(super) async fn meets(&self, key: &StorageKey, mode: &PutMode) -> Result<(), Error> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = match self.clients.quick.get_opts(&self.path(key)?, options).await {
            Ok(found) => Some(found.meta),
            Err(error) => match self.unread("look at", key, error).await {
                Error::NotFound { .. } => None,
                error => return Err(error),
            },
        };
        let met = match mode {
            PutMode::Overwrite => true,
            PutMode::Create => found.is_none(),
            PutMode::Update(version) => found.is_some_and(|found| found.e_tag == version.e_tag),
        };
        if met {
            Ok(())
        } else {
            Err(Error::AlreadyExists { key: key.clone() })
        }
    }
}
