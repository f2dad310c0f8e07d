//! What a collection is asked to do, what it reports while it runs, and what it removed in the end.

use std::time::Duration;

use registry_oci::{Digest, RepositoryName, Tag};

use crate::registry::Error;
use crate::registry::live_servers::LiveServerPolicy;

/// How a collection goes about.
#[derive(Debug, Clone)]
pub struct CollectionOptions {
    /// Whether manifests that no tag means go as well.
    pub untagged: Untagged,
    /// What is younger stays.
    pub min_age: Duration,
    /// Whether anything is removed.
    pub removal: Removal,
    /// What a live writer means.
    pub live_server_policy: LiveServerPolicy,
    /// How many bytes of references are held in memory at a time.
    pub memory: usize,
}

impl Default for CollectionOptions {
    /// The careful way, with an hour.
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

/// What becomes of manifests that no tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untagged {
    /// They stay, with all they mention.
    Keep,
    /// They go, unless something that stays needs them.
    Delete,
}

/// What becomes of garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is only told.
    DryRun,
    /// It is removed.
    Remove,
}

/// Something that is removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligible {
    /// A manifest of a repository.
    Manifest(RepositoryName, Digest),
    /// What a tag once meant.
    TagHistory(RepositoryName, Tag, Digest),
    /// A tag that means a manifest its repository does not have.
    Tag(RepositoryName, Tag),
    /// A repository's right to a blob.
    Layer(RepositoryName, Digest),
    /// A payload.
    Blob(Digest),
    /// An entry of our own index.
    Index,
}

/// What a collection tells while it works.
#[derive(Debug)]
pub enum CollectionEvent<'a> {
    /// So much was looked at.
    Marking(&'a CollectionReport),
    /// This is removed, or would be.
    Eligible(&'a Eligible),
    /// So much was removed.
    Sweeping(&'a CollectionReport),
}

/// What a collection found and did.
#[derive(Debug, Default)]
pub struct CollectionReport {
    /// How many repositories there are.
    pub repositories: u64,
    /// How many manifests were looked at, counted once for each repository and digest.
    pub manifests: u64,
    /// How many manifests a repository has a link to but whose payload is missing.
    pub missing: u64,
    /// How many payloads stay.
    pub blobs_kept: u64,
    /// How many links and payloads nothing refers to but are too young to go.
    pub too_young: u64,
    /// How many manifests went.
    pub manifests_removed: u64,
    /// How many links of blobs went.
    pub layers_removed: u64,
    /// How many payloads went.
    pub blobs_removed: u64,
    /// How many bytes they had.
    pub bytes_removed: u64,
    /// How many removals failed.
    pub failed: u64,
    /// Why the first of them did.
    pub first_failure: Option<Error>,
}
