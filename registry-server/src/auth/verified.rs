//! Credentials that were checked a moment ago, so that a pull of ten layers costs one bcrypt and not twenty.
//!
//! What is kept is a keyed hash of user, password and stored hash, with a key of this process: memory that leaks
//! gives no password away, and a changed line in the file is another entry by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::Sha256;

/// How long a checked password is believed without asking bcrypt again.
const TTL: Duration = Duration::from_secs(300);
/// How many are remembered; a few hundred kilobytes.
const MOST: usize = 4096;

/// Stands for one user with one password against one stored hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

/// The memory. Holds successes only: a wrong password is checked each time.
pub(super) struct Verified {
    key: [u8; 32],
    seen: Mutex<HashMap<Fingerprint, Instant>>,
}

impl Verified {
    pub(super) fn new() -> Self {
        Self {
            key: rand::rng().random(),
            seen: Mutex::default(),
        }
    }

    pub(super) fn fingerprint(&self, user: &str, password: &[u8], hash: &str) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in [user.as_bytes(), password, hash.as_bytes()] {
            // With its length, so that no two different triples run together to the same text.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Fingerprint(mac.finalize().into_bytes().into())
    }

    pub(super) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(fingerprint).is_some_and(|since| since.elapsed() < TTL)
    }

    pub(super) fn insert(&self, fingerprint: Fingerprint) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, since| since.elapsed() < TTL);
        }
        if seen.len() >= MOST
            && let Some(oldest) = seen
                .iter()
                .min_by_key(|(_, since)| **since)
                .map(|(fingerprint, _)| *fingerprint)
        {
            seen.remove(&oldest);
        }
        seen.insert(fingerprint, Instant::now());
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_password_and_hash_is_remembered() {
        let verified = Verified::new();
        verified.insert(verified.fingerprint("ab", b"c", "h"));
        assert!(verified.contains(&verified.fingerprint("ab", b"c", "h")));
        for (user, password, hash) in [
            ("a", "bc", "h"),
            ("ab", "d", "h"),
            ("ab", "c", "i"),
            ("abc", "", "h"),
        ] {
            let other = verified.fingerprint(user, password.as_bytes(), hash);
            assert!(!verified.contains(&other), "{user}:{password} against {hash}");
        }
    }

    #[test]
    fn no_more_than_the_bound_are_remembered_and_the_newest_stays() {
        let verified = Verified::new();
        for n in 0..=MOST {
            verified.insert(verified.fingerprint(&n.to_string(), b"p", "h"));
        }
        assert_eq!(verified.seen.lock().unwrap().len(), MOST);
        assert!(verified.contains(&verified.fingerprint(&MOST.to_string(), b"p", "h")));
        assert!(
            !verified.contains(&verified.fingerprint("0", b"p", "h")),
            "the oldest went"
        );
    }
}
