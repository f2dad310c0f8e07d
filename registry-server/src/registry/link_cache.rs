//! The only file that uses the cache of links. A read that goes on to open what a link leads to may use a cached link.
//!
//! Nothing else may. A client that is told that a blob exists does not send it, so [`super::blob_access`] never uses
//! the cache. What the cache gives is the name of a payload to open, and never a [`super::BlobDescriptor`], which only
//! comes from the store.

use registry_oci::{Digest, MediaType};

use super::{Error, Registry};
use crate::cache::{Descriptor, Link, LinkKind, Lookup, Ticket};
use crate::storage::layout::ObjectPath;

/// Where a read looks up a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    /// In the store alone.
    Strong,
    /// In the cache first: the payload is then sent, or found to be gone.
    Cached,
}

/// The target of a link, as the store or the cache has it.
#[derive(Debug)]
pub(super) struct ResolvedLink {
    /// The digest of the payload to open.
    pub(super) canonical: Digest,
    source: ResolvedFrom,
}

#[derive(Debug)]
enum ResolvedFrom {
    Cache,
    Store(Option<Ticket>),
}

impl Registry {
    /// Looks up the target of a link, for a read that opens it.
    pub(super) async fn resolve_link(&self, link: &Link<'_>) -> Result<Option<ResolvedLink>, Error> {
        let ticket = match &self.cache {
            Some(cache) => match cache.lookup(link).await {
                Lookup::Hit(canonical) => {
                    let source = ResolvedFrom::Cache;
                    return Ok(Some(ResolvedLink { canonical, source }));
                }
                Lookup::Miss(ticket) => Some(ticket),
            },
            None => None,
        };
        let canonical = match link.kind {
            LinkKind::Blob => self.blob_link_target(link.repository, link.digest).await?,
            LinkKind::Manifest => self.manifest_link_target(link.repository, link.digest).await?,
        };
        Ok(canonical.map(|canonical| ResolvedLink {
            canonical,
            source: ResolvedFrom::Store(ticket),
        }))
    }

    /// Whether the cache needs the size of the payload: others read it and do not know the size yet.
    pub(super) fn needs_size(&self, resolved: &ResolvedLink) -> bool {
        matches!(resolved.source, ResolvedFrom::Store(Some(_)))
            && self.cache.as_ref().is_some_and(|cache| cache.is_shared())
    }

    /// Caches the link of a blob that the client fetches from the store itself, if no other server reads the cache.
    pub(super) fn cache_target(&self, link: &Link<'_>, resolved: ResolvedLink) {
        if let (Some(cache), ResolvedFrom::Store(Some(ticket))) = (&self.cache, resolved.source) {
            cache.remember_place(link, &ticket, resolved.canonical);
        }
    }

    /// Caches a link whose payload could be opened.
    pub(super) async fn cache_link(
        &self,
        link: &Link<'_>,
        resolved: ResolvedLink,
        size: u64,
        media_type: MediaType,
    ) {
        let (Some(cache), ResolvedFrom::Store(Some(ticket))) = (&self.cache, resolved.source) else {
            return;
        };
        let canonical = resolved.canonical;
        // A distribution server deletes a manifest under its canonical digest alone and would leave the other one in
        // the cache.
        if link.kind == LinkKind::Manifest && *link.digest != canonical {
            return;
        }
        let descriptor = Descriptor {
            canonical,
            size,
            media_type,
        };
        cache.remember(link, ticket, &descriptor).await;
    }

    /// Removes a link from the cache because its payload is gone, so that the next read asks the store.
    pub(super) async fn invalidate_stale(&self, link: &Link<'_>, resolved: &ResolvedLink) {
        if let (Some(cache), ResolvedFrom::Cache) = (&self.cache, &resolved.source)
            && let Err(error) = cache.forget(link).await
        {
            let error = crate::fault::chain(&error);
            tracing::debug!(
                ?link,
                error,
                "a link without a payload stays in the cache, and the next read finds out again"
            );
        }
    }

    /// Removes a link from the cache because it is deleted. Call this before the deletion, and again after it.
    pub(super) async fn invalidate(&self, link: &Link<'_>) -> Result<(), Error> {
        match &self.cache {
            Some(cache) => cache
                .forget(link)
                .await
                .map_err(|source| Error::CacheInvalidation { source }),
            None => Ok(()),
        }
    }

    /// The same for the object at a path; only some objects are links.
    pub(super) async fn invalidate_path(&self, path: &ObjectPath) -> Result<(), Error> {
        let (kind, repository, digest) = match path {
            ObjectPath::LayerLink { repository, digest } => (LinkKind::Blob, repository, digest),
            ObjectPath::RevisionLink { repository, digest } => (LinkKind::Manifest, repository, digest),
            _ => return Ok(()),
        };
        let link = Link {
            kind,
            repository,
            digest,
        };
        self.invalidate(&link).await
    }
}

// They compare memory with Redis.
#[cfg(all(test, feature = "redis"))]
mod tests;
