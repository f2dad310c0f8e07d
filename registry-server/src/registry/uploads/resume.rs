//! The state of an upload that its client carries from one request to the next.

use std::time::{SystemTime, UNIX_EPOCH};

use registry_oci::Hasher;
use serde::{Deserialize, Serialize};

use super::base64_hash;

/// The state that the client of a session in an object store hands back with its next request. It is signed before it
/// is sent, and holds nothing that its client does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resume {
    /// Nothing was sent yet.
    Fresh,
    /// All bytes that were sent are stored under their digest.
    Whole {
        /// The state of the hash over them.
        #[serde(with = "base64_hash")]
        hash: Hasher,
        /// When they were stored, in seconds since 1970.
        stored: u64,
    },
    /// The store has a record of the session.
    Recorded,
}

impl Resume {
    /// The state after all bytes were stored under their digest just now.
    pub(super) fn stored_now(hash: Hasher) -> Self {
        Self::Whole { hash, stored: now() }
    }
}

/// The time in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
