//! The registry itself: a store, its settings, and what one process remembers of it.

use std::sync::Arc;

use super::manifest_parser::ManifestParser;
use super::manifest_rules::Validation;
use super::referrers::page::Pages;
use super::referrers::unindexed_cache::UnindexedCache;
use super::uploads::session_lock::SessionLocks;
use super::verified_sizes::VerifiedSizes;
use super::warn_once::WarnOnce;
use crate::cache::Cache;
use crate::memory_budget::MemoryBudget;
use crate::storage::Driver;

/// How a [`Registry`] behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The rules for pushed manifests.
    pub validation: Validation,
    /// Whether a mount without `from` may take a blob of any repository. This is right where everybody who may log in
    /// may read everything. With rules per repository it would open another repository's blob to anybody who knows its
    /// digest.
    pub mount_anywhere: bool,
    /// Whether nothing in the store may change (`storage.maintenance.readonly.enabled`), our own index included.
    pub read_only: bool,
    /// The memory that request bodies may take beyond a few KiB each (`http.limits`).
    pub request_memory: MemoryBudget,
}

/// See [`Settings::request_memory`].
const REQUEST_MEMORY: usize = 32 << 20;

impl Default for Settings {
    fn default() -> Self {
        Self {
            validation: Validation::default(),
            mount_anywhere: true,
            read_only: false,
            request_memory: MemoryBudget::new(REQUEST_MEMORY),
        }
    }
}

/// A registry on a store. A clone is another handle of the same registry.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(super) driver: Arc<dyn Driver>,
    pub(super) settings: Arc<Settings>,
    /// The cache of links; only reads use it.
    pub(super) cache: Option<Arc<Cache>>,
    /// Limits how many large manifests are parsed at once.
    pub(super) parser: ManifestParser,
    /// The broken objects that were logged.
    pub(super) warn_once: Arc<WarnOnce>,
    /// Limits the memory of pages of referrers.
    pub(super) pages: Pages,
    /// Manifests that the index of referrers does not have.
    pub(super) unindexed: Arc<UnindexedCache>,
    /// The sizes of blobs that were hashed because their size was in doubt.
    pub(super) sizes: Arc<VerifiedSizes>,
    /// The requests that write to upload sessions.
    pub(super) session_locks: Arc<SessionLocks>,
}

impl Registry {
    /// A registry on a store.
    pub fn new(driver: Arc<dyn Driver>, settings: Settings) -> Self {
        Self {
            unindexed: Arc::new(UnindexedCache::of_store(&*driver)),
            driver,
            settings: Arc::new(settings),
            cache: None,
            parser: ManifestParser::default(),
            warn_once: Arc::default(),
            pages: Pages::default(),
            sizes: Arc::default(),
            session_locks: Arc::default(),
        }
    }

    /// The same registry with a cache of links, if there is one.
    pub fn with_cache(self, cache: Option<Arc<Cache>>) -> Self {
        Self { cache, ..self }
    }

    /// The memory that request bodies may take.
    pub fn request_memory(&self) -> &MemoryBudget {
        &self.settings.request_memory
    }

    /// The store, for health checks and maintenance.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }
}
