//! Builds the cache of links from the sections `storage.cache` and `redis` of a configuration.

#[cfg(feature = "redis")]
mod redis;

use std::sync::Arc;

use registry_config::model::{CacheKind, Config};

use crate::cache::{Cache, Error};

/// The configured cache, if there is one. Must be called in a Tokio runtime.
pub(in crate::cli) fn cache(config: &Config) -> Result<Option<Arc<Cache>>, Error> {
    let cache = &config.storage.cache;
    let Some(kind) = cache.kind() else {
        return Ok(None);
    };
    Ok(Some(Arc::new(match kind {
        CacheKind::Inmemory => Cache::in_memory(cache.limit()),
        #[cfg(feature = "redis")]
        CacheKind::Redis => {
            if cache.blobdescriptorsize.is_some() {
                tracing::warn!(
                    "`storage.cache.blobdescriptorsize` has no effect: Redis has bounds of its own"
                );
            }
            Cache::in_redis(redis::settings(&config.redis))?
        }
        #[cfg(not(feature = "redis"))]
        CacheKind::Redis => return Err(Error::NotBuilt),
    })))
}
