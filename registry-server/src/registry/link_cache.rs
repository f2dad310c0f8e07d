//! The one door to the cache of links: a read that goes on to open what a link leads to may believe what was read a
//! moment ago.
//!
//! Nothing else may. A client that is told "it is there" does not send it, so [`super::blob_access`] never comes here;
//! what this door gives names a payload to be opened and is no [`super::BlobDescriptor`], which only the store makes.

use registry_oci::{Digest, MediaType};

use super::{Error, Registry};
use crate::cache::{Descriptor, Kind, Link, Look, Ticket};
use crate::storage::layout::Place;

/// Whose word a read takes for it that a repository has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    /// The store's.
    Strong,
    /// The cache's too: what is asked for is sent, or found to be gone.
    Cached,
}

/// Where a link leads, or led a moment ago.
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
    /// Where a link leads, for a read that opens it.
    pub(super) async fn resolve_link(&self, link: &Link<'_>) -> Result<Option<ResolvedLink>, Error> {
        let ticket = match &self.cache {
            Some(cache) => match cache.look(link).await {
                Look::Known(canonical) => {
                    let source = ResolvedFrom::Cache;
                    return Ok(Some(ResolvedLink { canonical, source }));
                }
                Look::Unknown(ticket) => Some(ticket),
            },
            None => None,
        };
        let canonical = match link.kind {
            Kind::Blob => self.blob_link_target(link.repository, link.digest).await?,
            Kind::Manifest => self.manifest_link_target(link.repository, link.digest).await?,
        };
        Ok(canonical.map(|canonical| ResolvedLink {
            canonical,
            source: ResolvedFrom::Store(ticket),
        }))
    }

    /// Whether somebody else may read from the cache what a payload's size is, and does not know yet.
    pub(super) fn needs_size(&self, resolved: &ResolvedLink) -> bool {
        matches!(resolved.source, ResolvedFrom::Store(Some(_)))
            && self.cache.as_ref().is_some_and(|cache| cache.is_shared())
    }

    /// Remembers where a link of a blob leads that is opened elsewhere, if nobody else reads the cache.
    pub(super) fn cache_target(&self, link: &Link<'_>, resolved: ResolvedLink) {
        if let (Some(cache), ResolvedFrom::Store(Some(ticket))) = (&self.cache, resolved.source) {
            cache.remember_place(link, &ticket, resolved.canonical);
        }
    }

    /// Remembers a link whose payload could be opened.
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
        // Of a manifest that is known by a second digest, a distribution server deletes the first and knows of none.
        if link.kind == Kind::Manifest && *link.digest != canonical {
            return;
        }
        let descriptor = Descriptor {
            canonical,
            size,
            media_type,
        };
        cache.remember(link, ticket, &descriptor).await;
    }

    /// Forgets a link whose payload is gone, if it was remembered. Whoever asks again is told by the store.
    pub(super) async fn invalidate_stale(&self, link: &Link<'_>, resolved: &ResolvedLink) {
        if let (Some(cache), ResolvedFrom::Cache) = (&self.cache, &resolved.source)
            && let Err(error) = cache.forget(link).await
        {
            let error = crate::fault::chain(&error);
            tracing::debug!(
                ?link,
                error,
                "a link without payload is remembered, and the next read finds out again"
            );
        }
    }

    /// Forgets a link that is taken away: before that, and again afterwards.
    pub(super) async fn invalidate(&self, link: &Link<'_>) -> Result<(), Error> {
        match &self.cache {
            Some(cache) => cache
                .forget(link)
                .await
                .map_err(|source| Error::CacheInvalidation { source }),
            None => Ok(()),
        }
    }

    /// The same for whatever lies at a place; only some are links.
    pub(super) async fn invalidate_at(&self, place: &Place) -> Result<(), Error> {
        let (kind, repository, digest) = match place {
            Place::LayerLink { repository, digest } => (Kind::Blob, repository, digest),
            Place::RevisionLink { repository, digest } => (Kind::Manifest, repository, digest),
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
