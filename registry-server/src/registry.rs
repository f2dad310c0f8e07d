//! What a registry does, with no HTTP in it: blobs, uploads, manifests, tags, referrers and the catalog.
//!
//! Guarantees: what a call acknowledges is in the store, durably; no content enters under a digest it does not
//! have; a repository shows only content it was granted; whatever makes a blob reachable, or answers that one is
//! there, passes [`blob_access`] and nothing else, because a garbage collection that runs beside pushes has to hook
//! in exactly there.
//! Must not: know a header, a status or a path.
//! Start at [`Registry`]; a push begins in [`uploads`](Registry::start_upload) and ends in
//! [`manifests`](Registry::put_manifest).

mod blob_access;
mod blobs;
mod catalog;
mod check;
mod concurrent_deletion;
mod copy;
mod error;
mod garbage;
mod hashing;
mod link_cache;
mod links;
mod live_servers;
mod manifests;
pub mod offload;
mod owner;
mod parsing;
mod purge;
mod referrers;
mod store_body;
mod tags;
mod ticker;
mod truncated_blobs;
mod uploads;
mod validation;
mod verify;
mod walk;
mod warn_once;

use std::sync::Arc;

pub use blob_access::BlobDescriptor;
pub use blobs::Blob;
pub use catalog::CatalogPage;
pub use check::{
    About, CheckError, CheckEvent, CheckOptions, CheckReport, Digests, Finding, FindingOutcome, Repair,
    TagHistory, UndoEvent, UndoReport,
};
pub use copy::{CopyError, CopyEvent, CopyReport};
pub use error::Error;
pub use garbage::{
    CollectionEvent, CollectionOptions, CollectionReport, Eligible, GarbageError, LiveServerPolicy, Removal,
    Untagged,
};
pub use live_servers::{Heartbeat, LiveServer, SeenServer};
pub use manifests::{Accepts, Pushed, Stored};
pub use owner::{Claim, OwnerError};
pub use purge::{Purge, Purged};
pub use referrers::Referrers;
pub use tags::Page;
pub use uploads::{Chunk, Offset, Progress, Resume, Session};
pub use validation::{Children, MissingReference, Notice, Platform, References, Urls, Validation};

use tokio::sync::Semaphore;

use crate::cache::Cache;
use crate::memory::Budget;
use crate::storage::Driver;

/// How a [`Registry`] behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is asked of pushed manifests.
    pub validation: Validation,
    /// Whether a mount without `from` may take a blob of any repository. Right where everybody who may log in may
    /// read everything; with rules per repository it would let a digest alone open a foreign blob.
    pub mount_anywhere: bool,
    /// Whether nothing in the store may change (`storage.maintenance.readonly.enabled`), an index of ours included.
    pub read_only: bool,
    /// What request bodies may have in memory beyond a few KiB each (`http.limits`).
    pub request_memory: Budget,
}

/// See [`Settings::request_memory`].
const REQUEST_MEMORY: usize = 32 << 20;

impl Default for Settings {
    fn default() -> Self {
        Self {
            validation: Validation::default(),
            mount_anywhere: true,
            read_only: false,
            request_memory: Budget::new(REQUEST_MEMORY),
        }
    }
}

/// A registry on a store. A clone is another handle of the same one.
#[derive(Debug, Clone)]
pub struct Registry {
    driver: Arc<dyn Driver>,
    settings: Arc<Settings>,
    /// Links that were read a moment ago; for reads alone.
    cache: Option<Arc<Cache>>,
    /// Turns at taking large manifests apart.
    parsing: Arc<Semaphore>,
    /// Which broken objects were spoken of.
    warn_once: Arc<warn_once::WarnOnce>,
    /// The room for pages of referrers.
    pages: referrers::Pages,
    /// Manifests that the index of referrers does not know.
    unindexed: Arc<referrers::Unindexed>,
    /// What was learnt by hashing payloads whose size was in doubt.
    sizes: Arc<truncated_blobs::VerifiedSizes>,
    /// Which requests go on with which upload sessions.
    session_locks: Arc<uploads::SessionLocks>,
}

impl Registry {
    /// A registry on a store.
    pub fn new(driver: Arc<dyn Driver>, settings: Settings) -> Self {
        Self {
            unindexed: Arc::new(referrers::Unindexed::of_store(&*driver)),
            driver,
            settings: Arc::new(settings),
            cache: None,
            parsing: Arc::new(Semaphore::new(parsing::AT_ONCE)),
            warn_once: Arc::default(),
            pages: referrers::Pages::default(),
            sizes: Arc::default(),
            session_locks: Arc::default(),
        }
    }

    /// The same with a cache of links, if there is one.
    pub fn with_cache(self, cache: Option<Arc<Cache>>) -> Self {
        Self { cache, ..self }
    }

    /// What request bodies may have in memory.
    pub fn request_memory(&self) -> &Budget {
        &self.settings.request_memory
    }

    /// The store, for health checks and maintenance.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }
}

#[cfg(test)]
mod tests;
