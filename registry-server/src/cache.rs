//! A cache of links that a repository had a moment ago, so that a pull need not read them from the store again.
//!
//! Guarantees: only links that were read from the store are cached. A link that this process deletes is removed from the
//! cache before the deletion is answered. A link that another replica deletes is removed within [`TTL`] from memory, and at
//! once from Redis. A cache that fails or is slow costs one read of the store and nothing else. Memory is bounded.
//! Must not: read or write the store; be used by anything but a read that then opens the payload. A cached link does not
//! prove that content exists, which a push relies on: only opening the payload shows that. Whether new content may refer to
//! it is for [`crate::registry`] to read from the store.
//! Start at [`Cache`]; `memory` and `redis` are the two places where links are remembered.

mod error;
mod link;
mod memory;
mod metrics;
#[cfg(feature = "redis")]
mod redis;
#[cfg(not(feature = "redis"))]
#[path = "cache/no_redis.rs"]
mod redis;

use std::time::Instant;

use registry_oci::Digest;

pub use error::Error;
pub use link::{Descriptor, Link, LinkKind, Lookup, TTL, Ticket};
use memory::Memory;
use metrics::CacheMetrics;
use redis::Redis;
#[cfg(feature = "redis")]
pub use redis::{Servers, Settings, Tls};

/// A cache of links.
#[derive(Debug)]
pub struct Cache {
    backend: Backend,
    metrics: CacheMetrics,
}

#[derive(Debug)]
enum Backend {
    Memory(Memory),
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    Redis(Redis),
}

impl Cache {
    /// A cache in the memory of this process, of at most `limit` links, or without a limit of all links within [`TTL`].
    pub fn in_memory(limit: Option<usize>) -> Self {
        Self {
            backend: Backend::Memory(Memory::new(limit)),
            metrics: CacheMetrics::default(),
        }
    }

    /// A cache in Redis, for all replicas that use the same Redis. It connects in the background as long as it exists. Must
    /// be called in a runtime.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Settings`]. A Redis that does not answer is no error here.
    #[cfg(feature = "redis")]
    pub fn in_redis(settings: Settings) -> Result<Self, Error> {
        let metrics = CacheMetrics::default();
        Ok(Self {
            backend: Backend::Redis(Redis::new(settings)?),
            metrics,
        })
    }

    /// Registers the metrics, under distribution's names.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.metrics.register(registry);
        if let Backend::Redis(_) = &self.backend {
            self.metrics.register_redis(registry);
        }
    }

    /// The cache's name for log lines.
    pub fn name(&self) -> &'static str {
        match &self.backend {
            Backend::Memory(_) => "inmemory",
            Backend::Redis(_) => "redis",
        }
    }

    /// Looks a link up.
    pub async fn lookup(&self, link: &Link<'_>) -> Lookup {
        self.metrics.asked();
        let found = match &self.backend {
            Backend::Memory(memory) => Ok(memory.lookup(link, Instant::now())),
            Backend::Redis(redis) => {
                let _took = self.metrics.time(metrics::Operation::Stat);
                redis.lookup(link).await
            }
        };
        match found {
            Ok(Lookup::Hit(canonical)) => {
                self.metrics.hit();
                Lookup::Hit(canonical)
            }
            Ok(Lookup::Miss(ticket)) => {
                self.metrics.missed();
                Lookup::Miss(ticket)
            }
            Err(ticket) => {
                self.metrics.missed();
                self.metrics.failed();
                Lookup::Miss(ticket)
            }
        }
    }

    /// Whether other servers read the cache too, and take sizes and media types from it.
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Caches the target of a link without its size and type. Only in memory, since other servers would miss these.
    pub fn remember_place(&self, link: &Link<'_>, ticket: &Ticket, canonical: Digest) {
        if let Backend::Memory(memory) = &self.backend {
            memory.remember(link, ticket, canonical, Instant::now());
        }
    }

    /// Caches a link that was read from the store since the ticket was given.
    pub async fn remember(&self, link: &Link<'_>, ticket: Ticket, descriptor: &Descriptor) {
        match &self.backend {
            Backend::Memory(memory) => {
                memory.remember(link, &ticket, descriptor.canonical, Instant::now());
            }
            Backend::Redis(redis) => {
                let _took = self.metrics.time(metrics::Operation::SetDescriptor);
                if redis.remember(link, &ticket, descriptor).await.is_err() {
                    self.metrics.failed();
                }
            }
        }
    }

    /// Removes a link from the cache. A deletion calls this twice: before it deletes the link, so that the link is not
    /// cached when the deletion is cut off; and after, because until then the link could be read and cached again.
    ///
    /// # Errors
    /// [`Error::Away`] and [`Error::Redis`]: the link may still be cached, so it must not be deleted now. A client whose link
    /// was deleted already is asked to delete it again.
    pub async fn forget(&self, link: &Link<'_>) -> Result<(), Error> {
        match &self.backend {
            Backend::Memory(memory) => {
                memory.forget(link);
                Ok(())
            }
            Backend::Redis(redis) => redis.forget(link).await.inspect_err(|_| {
                self.metrics.failed();
            }),
        }
    }
}

#[cfg(all(test, feature = "redis"))]
pub(crate) mod testing;
