//! Credentials that were checked before, so that a pull of ten layers costs one bcrypt and not twenty.
//!
//! What is kept is a keyed hash of user, password and stored hash, with a key of this process: memory that leaks
//! gives no password away, and a changed line in the file is another entry by itself. An entry of a user who was
//! removed is asked for by nobody.

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

/// What is remembered of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// They were right a moment ago.
    Fresh,
    /// They were right, too long ago to be believed. Only somebody who knows the password can send them.
    Stale,
    /// Nothing.
    Unknown,
}

/// The memory. Holds successes only: a wrong password is checked each time.
pub(super) struct CredentialCache {
    key: [u8; 32],
    /// Until when each is believed.
    seen: Mutex<HashMap<Fingerprint, Instant>>,
}

impl CredentialCache {
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

    pub(super) fn lookup(&self, fingerprint: &Fingerprint) -> Lookup {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(fingerprint) {
            Some(until) if Instant::now() < *until => Lookup::Fresh,
            Some(_) => Lookup::Stale,
            None => Lookup::Unknown,
        }
    }

    pub(super) fn insert(&self, fingerprint: Fingerprint) {
        self.insert_until(fingerprint, Instant::now() + TTL);
    }

    fn insert_until(&self, fingerprint: Fingerprint, until: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST
            && !seen.contains_key(&fingerprint)
            && let Some(oldest) = seen
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(fingerprint, _)| *fingerprint)
        {
            seen.remove(&oldest);
        }
        seen.insert(fingerprint, until);
    }

    /// Makes what is remembered of credentials too old to be believed, for tests that would have to wait.
    #[cfg(test)]
    pub(super) fn age(&self, fingerprint: Fingerprint) {
        self.insert_until(fingerprint, Instant::now());
    }
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_password_and_hash_is_remembered() {
        let cache = CredentialCache::new();
        cache.insert(cache.fingerprint("ab", b"c", "h"));
        assert_eq!(cache.lookup(&cache.fingerprint("ab", b"c", "h")), Lookup::Fresh);
        for (user, password, hash) in [
            ("a", "bc", "h"),
            ("ab", "d", "h"),
            ("ab", "c", "i"),
            ("abc", "", "h"),
        ] {
            let other = cache.fingerprint(user, password.as_bytes(), hash);
            assert_eq!(
                cache.lookup(&other),
                Lookup::Unknown,
                "{user}:{password} against {hash}"
            );
        }
    }

    #[test]
    fn what_was_right_too_long_ago_is_known_but_not_believed() {
        let cache = CredentialCache::new();
        let fingerprint = cache.fingerprint("ann", b"pw", "h");
        cache.age(fingerprint);
        assert_eq!(cache.lookup(&fingerprint), Lookup::Stale);
        cache.insert(fingerprint);
        assert_eq!(cache.lookup(&fingerprint), Lookup::Fresh);
    }

    #[test]
    fn no_more_than_the_bound_are_remembered_and_the_newest_stays() {
        let cache = CredentialCache::new();
        for n in 0..=MOST {
            cache.insert(cache.fingerprint(&n.to_string(), b"p", "h"));
        }
        assert_eq!(cache.seen.lock().unwrap().len(), MOST);
        let lookup = |n: usize| cache.lookup(&cache.fingerprint(&n.to_string(), b"p", "h"));
        assert_eq!(lookup(MOST), Lookup::Fresh);
        assert_eq!(lookup(0), Lookup::Unknown, "the oldest went");
    }
}
