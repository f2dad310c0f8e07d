//! The options of a collection, the events while it runs, and its report in the end.

use std::time::Duration;

use registry_oci::{Digest, RepositoryName, Tag};

use crate::registry::Error;
use crate::registry::live_servers::LiveServerPolicy;

/// How a collection works.
#[derive(Debug, Clone)]
pub struct CollectionOptions {
    /// Whether manifests without a tag are removed too.
    pub untagged: Untagged,
    /// Younger content stays.
    pub min_age: Duration,
    /// Whether anything is removed.
    pub removal: Removal,
    /// The policy when a live server writes to the store.
    pub live_server_policy: LiveServerPolicy,
    /// How many bytes of references are held in memory at a time.
    pub memory: usize,
}

impl Default for CollectionOptions {
    /// Keeps untagged manifests and everything younger than an hour, and refuses to run beside a live server.
    fn default() -> Self {
        Self {
            untagged: Untagged::Keep,
            min_age: Duration::from_secs(3600),
            removal: Removal::Remove,
            live_server_policy: LiveServerPolicy::Refuse,
            memory: 64 << 20,
        }
    }
}

/// The action of a collection on manifests that no tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untagged {
    /// They stay, with all content that they refer to.
    Keep,
    /// They are removed, unless kept content needs them.
    Delete,
}

/// The action of a collection on garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It only reports it.
    DryRun,
    /// It removes it.
    Remove,
}

/// An object that is removed, or would be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligible {
    /// A manifest of a repository.
    Manifest(RepositoryName, Digest),
    /// An entry in the history of a tag.
    TagHistory(RepositoryName, Tag, Digest),
    /// A tag that means a manifest its repository does not have.
    Tag(RepositoryName, Tag),
    /// The link of a repository to a blob.
    Layer(RepositoryName, Digest),
    /// A payload.
    Blob(Digest),
    /// An entry of our own index.
    Index,
}

/// An event of a collection.
#[derive(Debug)]
pub enum CollectionEvent<'a> {
    /// This was read so far.
    Marking(&'a CollectionReport),
    /// This object is removed, or would be removed.
    Eligible(&'a Eligible),
    /// This was removed so far.
    Sweeping(&'a CollectionReport),
}

/// The report of a collection: what it found and removed.
#[derive(Debug, Default)]
pub struct CollectionReport {
    /// How many repositories there are.
    pub repositories: u64,
    /// How many manifests were read, counted once for each repository and digest.
    pub manifests: u64,
    /// How many manifests have a link in a repository but no payload.
    pub missing: u64,
    /// How many payloads stay.
    pub blobs_kept: u64,
    /// How many links and payloads without a reference are too young to be removed.
    pub too_young: u64,
    /// How many manifests were removed.
    pub manifests_removed: u64,
    /// How many links of blobs were removed.
    pub layers_removed: u64,
    /// How many payloads were removed.
    pub blobs_removed: u64,
    /// How many bytes they had.
    pub bytes_removed: u64,
    /// How many removals failed.
    pub failed: u64,
    /// The error of the first of them.
    pub first_failure: Option<Error>,
}
