//! Which links a repository was seen to have a moment ago, so that a pull need not read them again.
//!
//! Guarantees: nothing is remembered but what was read from the store; what this process takes away is forgotten
//! before it answers; what another replica takes away is forgotten within [`TTL`] in memory, and at once in Redis; a
//! cache that does not answer, or not in time, costs the look into the store that it would have saved and nothing
//! else; memory is bounded.
//! Must not: read or write the store; be asked by anything but a read that then opens what the link leads to. That a
//! link is remembered is no answer to "is it there", on which a push relies: that the payload can be opened is seen
//! by opening it, and that it may still be referred to is for [`crate::registry`] to read from the store.
//! Start at [`Cache`]; `memory` and `redis` are the two places where links are remembered.

mod error;
mod memory;
mod metrics;
#[cfg(feature = "redis")]
mod redis;
#[cfg(not(feature = "redis"))]
#[path = "cache/no_redis.rs"]
mod redis;

use std::time::{Duration, Instant};

use registry_oci::{Digest, MediaType, RepositoryName};

pub use error::Error;
use memory::Memory;
use metrics::Counted;
use redis::Redis;
#[cfg(feature = "redis")]
pub use redis::{Servers, Settings, Tls};

/// How long a link in memory is believed: for so long a pull may be served what another replica took away.
pub const TTL: Duration = Duration::from_secs(5);

/// What a link makes reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// A blob.
    Blob,
    /// A manifest.
    Manifest,
}

/// A link of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// What it makes reachable.
    pub kind: LinkKind,
    /// In which repository.
    pub repository: &'a RepositoryName,
    /// Under which digest.
    pub digest: &'a Digest,
}

/// What was found behind a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The digest its payload is stored under.
    pub canonical: Digest,
    /// The size of that.
    pub size: u64,
    /// Its type; [`MediaType::OCTET_STREAM`] for a blob, and never for a manifest.
    pub media_type: MediaType,
}

/// What a cache answers.
#[derive(Debug)]
pub enum Lookup {
    /// The link was there, and leads to the payload stored under this digest.
    Hit(Digest),
    /// Nobody knows. With this, what the store says may be remembered.
    Miss(Ticket),
}

/// When somebody began to look into the store: what was taken away since then must not be remembered.
#[derive(Debug)]
pub struct Ticket {
    at: Instant,
    /// How often this process had forgotten something.
    forgotten: u64,
}

/// A cache of links.
#[derive(Debug)]
pub struct Cache {
    kept: Kept,
    counted: Counted,
}

#[derive(Debug)]
enum Kept {
    Memory(Memory),
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    Redis(Redis),
}

impl Cache {
    /// In the memory of this process: at most so many links, or as many as are asked for within [`TTL`].
    pub fn in_memory(limit: Option<usize>) -> Self {
        Self {
            kept: Kept::Memory(Memory::new(limit)),
            counted: Counted::default(),
        }
    }

    /// In Redis, for all replicas that use the same. Connects in the background, for as long as this lives; must be
    /// called in a runtime.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Settings`]. That Redis does not answer is none.
    #[cfg(feature = "redis")]
    pub fn in_redis(settings: Settings) -> Result<Self, Error> {
        let counted = Counted::default();
        Ok(Self {
            kept: Kept::Redis(Redis::new(settings)?),
            counted,
        })
    }

    /// Registers what is counted, under distribution's names.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.counted.register(registry);
        if let Kept::Redis(_) = &self.kept {
            self.counted.register_redis(registry);
        }
    }

    /// The cache's name for people.
    pub fn name(&self) -> &'static str {
        match &self.kept {
            Kept::Memory(_) => "inmemory",
            Kept::Redis(_) => "redis",
        }
    }

    /// Whether a link is known, and where it leads.
    pub async fn lookup(&self, link: &Link<'_>) -> Lookup {
        self.counted.asked();
        let found = match &self.kept {
            Kept::Memory(memory) => Ok(memory.lookup(link, Instant::now())),
            Kept::Redis(redis) => {
                let _took = self.counted.time(metrics::Operation::Stat);
                redis.lookup(link).await
            }
        };
        match found {
            Ok(Lookup::Hit(canonical)) => {
                self.counted.hit();
                Lookup::Hit(canonical)
            }
            Ok(Lookup::Miss(ticket)) => {
                self.counted.missed();
                Lookup::Miss(ticket)
            }
            Err(ticket) => {
                self.counted.missed();
                self.counted.failed();
                Lookup::Miss(ticket)
            }
        }
    }

    /// Whether others read it too, who take sizes and types from it.
    pub fn is_shared(&self) -> bool {
        matches!(self.kept, Kept::Redis(_))
    }

    /// Remembers where a link leads, without what opening it would show: only in memory, since others would miss it.
    pub fn remember_place(&self, link: &Link<'_>, ticket: &Ticket, canonical: Digest) {
        if let Kept::Memory(memory) = &self.kept {
            memory.remember(link, ticket, canonical, Instant::now());
        }
    }

    /// Remembers what the store said since a ticket was given.
    pub async fn remember(&self, link: &Link<'_>, ticket: Ticket, descriptor: &Descriptor) {
        match &self.kept {
            Kept::Memory(memory) => {
                memory.remember(link, &ticket, descriptor.canonical, Instant::now());
            }
            Kept::Redis(redis) => {
                let _took = self.counted.time(metrics::Operation::SetDescriptor);
                if redis.remember(link, &ticket, descriptor).await.is_err() {
                    self.counted.failed();
                }
            }
        }
    }

    /// Forgets a link that is about to be taken away, or that was: to be called before, so that nobody is left who
    /// knows it when the work breaks off, and after, because it was there to be read until then.
    ///
    /// # Errors
    /// [`Error::Away`] and [`Error::Redis`]: others may go on to believe in the link, so it must not be taken away
    /// now. What was taken away already is asked to be taken away again.
    pub async fn forget(&self, link: &Link<'_>) -> Result<(), Error> {
        match &self.kept {
            Kept::Memory(memory) => {
                memory.forget(link);
                Ok(())
            }
            Kept::Redis(redis) => redis.forget(link).await.inspect_err(|_| {
                self.counted.failed();
            }),
        }
    }
}

#[cfg(all(test, feature = "redis"))]
pub(crate) mod testing;
