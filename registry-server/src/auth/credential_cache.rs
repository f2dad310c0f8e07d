//! A cache of credentials that were right, so that a pull of ten layers costs one bcrypt and not twenty.
//!
//! An entry is a keyed hash of the user, the password and the stored hash, with a key of this process. So leaked memory
//! reveals no password, and a changed line of the file makes another entry. The entry of a removed user is never looked
//! up again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::Sha256;

/// How long a right password is accepted without another bcrypt.
const TTL: Duration = Duration::from_secs(300);
/// The largest number of entries. They take a few hundred kilobytes.
const CAPACITY: usize = 4096;

/// The key of an entry: one user with one password and one stored hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

/// The result of looking credentials up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// They were right, less than [`TTL`] ago.
    Fresh,
    /// They were right, longer ago than that. Only a client that knows the password can send them.
    Stale,
    /// The cache has no entry.
    Miss,
}

/// The cache. It holds right credentials only: a wrong password is checked each time.
pub(super) struct CredentialCache {
    key: [u8; 32],
    /// The end of each entry's [`TTL`].
    expiries: Mutex<HashMap<Fingerprint, Instant>>,
}

impl CredentialCache {
    pub(super) fn new() -> Self {
        Self {
            key: rand::rng().random(),
            expiries: Mutex::default(),
        }
    }

    pub(super) fn fingerprint(&self, user: &str, password: &[u8], hash: &str) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in [user.as_bytes(), password, hash.as_bytes()] {
            // Each part follows its length, so that two different triples never give the same text.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Fingerprint(mac.finalize().into_bytes().into())
    }

    pub(super) fn lookup(&self, fingerprint: &Fingerprint) -> Lookup {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        match expiries.get(fingerprint) {
            Some(expiry) if Instant::now() < *expiry => Lookup::Fresh,
            Some(_) => Lookup::Stale,
            None => Lookup::Miss,
        }
    }

    pub(super) fn insert(&self, fingerprint: Fingerprint) {
        self.insert_until(fingerprint, Instant::now() + TTL);
    }

    fn insert_until(&self, fingerprint: Fingerprint, expiry: Instant) {
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        if expiries.len() >= CAPACITY
            && !expiries.contains_key(&fingerprint)
            && let Some(oldest) = expiries
                .iter()
                .min_by_key(|(_, expiry)| **expiry)
                .map(|(fingerprint, _)| *fingerprint)
        {
            expiries.remove(&oldest);
        }
        expiries.insert(fingerprint, expiry);
    }

    /// Makes an entry stale, for tests that would have to wait.
    #[cfg(test)]
    pub(super) fn expire(&self, fingerprint: Fingerprint) {
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
                Lookup::Miss,
                "{user}:{password} against {hash}"
            );
        }
    }

    #[test]
    fn what_was_right_too_long_ago_is_known_but_not_believed() {
        let cache = CredentialCache::new();
        let fingerprint = cache.fingerprint("ann", b"pw", "h");
        cache.expire(fingerprint);
        assert_eq!(cache.lookup(&fingerprint), Lookup::Stale);
        cache.insert(fingerprint);
        assert_eq!(cache.lookup(&fingerprint), Lookup::Fresh);
    }

    #[test]
    fn no_more_than_the_bound_are_remembered_and_the_newest_stays() {
        let cache = CredentialCache::new();
        for n in 0..=CAPACITY {
            cache.insert(cache.fingerprint(&n.to_string(), b"p", "h"));
        }
        assert_eq!(cache.expiries.lock().unwrap().len(), CAPACITY);
        let lookup = |n: usize| cache.lookup(&cache.fingerprint(&n.to_string(), b"p", "h"));
        assert_eq!(lookup(CAPACITY), Lookup::Fresh);
        assert_eq!(lookup(0), Lookup::Miss, "the oldest went");
    }
}
