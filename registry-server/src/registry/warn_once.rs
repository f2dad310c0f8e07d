//! A broken object is logged once: a client that asks for it again and again must not fill the log.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::storage::StorageKey;

/// How many broken objects are remembered. When there are more, all are forgotten and may be logged again.
const KNOWN_MAX: usize = 4096;

/// The broken objects that were logged.
#[derive(Debug, Default)]
pub(super) struct WarnOnce {
    known: Mutex<BTreeSet<StorageKey>>,
}

impl WarnOnce {
    /// Whether the object was not logged yet. From now on it counts as logged.
    pub(super) fn is_first(&self, key: &StorageKey) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX && !known.contains(key) {
            known.clear();
        }
        known.insert(key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_once_and_memory_is_bounded() {
        let once = WarnOnce::default();
        let key = |number: usize| StorageKey::parse(&format!("a/{number}")).unwrap();
        for number in 0..KNOWN_MAX * 2 {
            assert!(once.is_first(&key(number)));
            assert!(!once.is_first(&key(number)));
        }
        assert!(once.known.lock().unwrap().len() <= KNOWN_MAX);
    }
}
