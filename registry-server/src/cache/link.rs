//! The links that a cache remembers, and what a lookup gives.

use std::time::{Duration, Instant};

use registry_oci::{Digest, MediaType, RepositoryName};

/// How long a link stays in the memory of a process. For that time a pull may still get content whose link another replica
/// deleted.
pub const TTL: Duration = Duration::from_secs(5);

/// Whether a link leads to a blob or to a manifest.
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
    /// Blob or manifest.
    pub kind: LinkKind,
    /// The repository.
    pub repository: &'a RepositoryName,
    /// The digest by which clients ask for the content.
    pub digest: &'a Digest,
}

/// The content that a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The digest its payload is stored under.
    pub canonical: Digest,
    /// The size of that.
    pub size: u64,
    /// Its type; [`MediaType::OCTET_STREAM`] for a blob, and never for a manifest.
    pub media_type: MediaType,
}

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// The link is cached, and leads to the payload stored under this digest.
    Hit(Digest),
    /// The link is not cached. With the ticket, the link that the caller then reads from the store can be cached.
    Miss(Ticket),
}

/// The time when a read of the store began. A link that was deleted since then must not be cached.
#[derive(Debug)]
pub struct Ticket {
    pub(super) at: Instant,
    /// The number of links that this process had removed from the cache by then.
    pub(super) forgotten: u64,
}
