//! The cache in the memory of this process: links expire [`TTL`] after the read of the store.
//!
//! The oldest link expires first and is also the one that is evicted when the cache is full. So one queue serves both, and
//! a lookup moves nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use registry_oci::{Digest, RepositoryName};

use super::link::{Link, LinkKind, Lookup, TTL, Ticket};

/// Links that were read.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    links: Mutex<Links>,
}

type Key = (LinkKind, RepositoryName, Digest);

#[derive(Debug, Default)]
struct Links {
    known: HashMap<Arc<Key>, Known>,
    /// The links in the order of their reads. A link that was read again, or removed, has more entries here than in `known`.
    queue: VecDeque<(Instant, Arc<Key>)>,
    /// The number of links that were removed.
    forgotten: u64,
}

#[derive(Debug)]
struct Known {
    canonical: Digest,
    /// When the read of the store began.
    asked: Instant,
}

impl Memory {
    /// At most so many links, or as many as are read within [`TTL`].
    pub(super) fn new(limit: Option<usize>) -> Self {
        Self {
            limit: limit.unwrap_or(usize::MAX),
            links: Mutex::default(),
        }
    }

    pub(super) fn lookup(&self, link: &Link<'_>, now: Instant) -> Lookup {
        let key = key(link);
        let mut links = self.links();
        links.evict(now, self.limit);
        match links.known.get(&key) {
            Some(known) if is_young(known.asked, now) => Lookup::Hit(known.canonical),
            Some(_) | None => Lookup::Miss(Ticket {
                at: now,
                forgotten: links.forgotten,
            }),
        }
    }

    pub(super) fn remember(&self, link: &Link<'_>, ticket: &Ticket, canonical: Digest, now: Instant) {
        let key = Arc::new(key(link));
        let asked = ticket.at;
        let mut links = self.links();
        // A link was removed meanwhile. It may have been this one, after the store was read.
        if links.forgotten != ticket.forgotten || !is_young(asked, now) {
            return;
        }
        links.queue.push_back((asked, Arc::clone(&key)));
        links.known.insert(key, Known { canonical, asked });
        links.evict(now, self.limit);
    }

    pub(super) fn forget(&self, link: &Link<'_>) {
        let key = key(link);
        let mut links = self.links();
        links.forgotten += 1;
        links.known.remove(&key);
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// Evicts expired links, and the oldest ones above the limit.
    fn evict(&mut self, now: Instant, limit: usize) {
        while let Some((asked, _)) = self.queue.front()
            && (self.queue.len() > limit || !is_young(*asked, now))
            && let Some((asked, key)) = self.queue.pop_front()
        {
            // Not if it was read again since.
            if self.known.get(&key).is_some_and(|known| known.asked == asked) {
                self.known.remove(&key);
            }
        }
    }
}

fn key(link: &Link<'_>) -> Key {
    (link.kind, link.repository.clone(), *link.digest)
}

fn is_young(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) < TTL
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn repository() -> RepositoryName {
        RepositoryName::parse("team/app").unwrap()
    }

    struct Case {
        memory: Memory,
        repository: RepositoryName,
        now: Instant,
    }

    impl Case {
        fn new(limit: Option<usize>) -> Self {
            Self {
                memory: Memory::new(limit),
                repository: repository(),
                now: Instant::now(),
            }
        }

        fn lookup(&self, digest: &Digest) -> Lookup {
            self.memory.lookup(&self.link(digest), self.now)
        }

        fn remember(&self, digest: &Digest, ticket: &Ticket) {
            self.memory
                .remember(&self.link(digest), ticket, *digest, self.now);
        }

        fn read(&self, digest: &Digest) {
            let Lookup::Miss(ticket) = self.lookup(digest) else {
                panic!("{digest} is known already")
            };
            self.remember(digest, &ticket);
        }

        fn link<'a>(&'a self, digest: &'a Digest) -> Link<'a> {
            Link {
                kind: LinkKind::Blob,
                repository: &self.repository,
                digest,
            }
        }

        #[track_caller]
        fn check(&self, digest: &Digest, known: bool) {
            let found = self.lookup(digest);
            assert_eq!(
                matches!(found, Lookup::Hit(canonical) if canonical == *digest),
                known,
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_link_is_known_for_five_seconds_since_the_store_was_asked() {
        let mut case = Case::new(Some(10));
        let digest = Digest::sha256(b"layer");
        let Lookup::Miss(ticket) = case.lookup(&digest) else {
            panic!("nothing was read yet")
        };
        case.now += Duration::from_secs(2);
        case.remember(&digest, &ticket);
        case.check(&digest, true);
        case.now += Duration::from_millis(2_999);
        case.check(&digest, true);
        case.now += Duration::from_millis(1);
        case.check(&digest, false);
        // Using it makes it no younger, and reading it again does.
        case.read(&digest);
        case.check(&digest, true);
    }

    #[test]
    fn a_blob_a_manifest_and_another_repository_are_known_apart() {
        let case = Case::new(None);
        let digest = Digest::sha256(b"layer");
        case.read(&digest);
        let other = RepositoryName::parse("team/other").unwrap();
        for (kind, repository, known) in [
            (LinkKind::Blob, &case.repository, true),
            (LinkKind::Manifest, &case.repository, false),
            (LinkKind::Blob, &other, false),
        ] {
            let link = Link {
                kind,
                repository,
                digest: &digest,
            };
            let found = case.memory.lookup(&link, case.now);
            assert_eq!(matches!(found, Lookup::Hit(_)), known, "{link:?}");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_remembered_by_who_asked_the_store_before() {
        let case = Case::new(Some(10));
        let digest = Digest::sha256(b"layer");
        let Lookup::Miss(ticket) = case.lookup(&digest) else {
            panic!("nothing was read yet")
        };
        case.memory.forget(&case.link(&digest));
        case.remember(&digest, &ticket);
        case.check(&digest, false);
        case.read(&digest);
        case.check(&digest, true);
        case.memory.forget(&case.link(&digest));
        case.check(&digest, false);
    }

    #[test]
    fn memory_is_bounded_by_the_limit_and_without_one_by_time() {
        let digests: Vec<Digest> = (0..100)
            .map(|number: u32| Digest::sha256(&number.to_le_bytes()))
            .collect();
        let mut case = Case::new(Some(10));
        for digest in &digests {
            case.read(digest);
        }
        case.check(&digests[89], false);
        case.check(&digests[90], true);
        let sizes = |case: &Case| {
            let links = case.memory.links();
            (links.known.len(), links.queue.len())
        };
        assert_eq!(sizes(&case), (10, 10));
        // Read and forgotten again and again, it takes no more room.
        for _ in 0..100 {
            case.memory.forget(&case.link(&digests[0]));
            case.read(&digests[0]);
        }
        assert!(sizes(&case).1 <= 10, "{:?}", sizes(&case));

        case = Case::new(None);
        for digest in &digests {
            case.read(digest);
        }
        assert_eq!(sizes(&case), (100, 100));
        case.now += TTL;
        case.check(&digests[0], false);
        assert_eq!(sizes(&case), (0, 0));
    }

    #[test]
    fn a_link_that_was_read_again_outlives_its_first_reading() {
        let mut case = Case::new(Some(10));
        let digest = Digest::sha256(b"layer");
        let (Lookup::Miss(first), Lookup::Miss(second)) = (case.lookup(&digest), {
            case.now += Duration::from_secs(3);
            case.lookup(&digest)
        }) else {
            panic!("nothing was read yet")
        };
        case.remember(&digest, &first);
        case.remember(&digest, &second);
        case.now += Duration::from_secs(3);
        case.check(&digest, true);
    }
}
