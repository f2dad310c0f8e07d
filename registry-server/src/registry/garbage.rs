//! Garbage collection: removes what no manifest refers to.
//!
//! What is kept: every manifest a repository has (with [`Untagged::Delete`]: those a tag means, those a kept index
//! lists, and those whose subject is kept, over any number of steps), and whatever a kept manifest mentions. What is
//! removed otherwise: manifests' links, links of blobs, payloads, and what our own index says of them. A repository in
//! which nothing is left leaves the catalog. With [`Untagged::Delete`] so do tags that mean nothing: those without a link,
//! and those that lead to a manifest the repository does not have.
//!
//! Guarantees:
//! - **Nothing younger than the minimum age goes**, by the later time of a payload and the link at hand; a manifest
//!   that is young keeps what it mentions. Ages are told by the store's clock.
//! - **What cannot be read is no reason to remove anything**: a kept manifest that is damaged, or no document, ends
//!   the collection before it removes a thing. One whose payload is missing mentions nothing and ends nothing.
//! - **Links go before payloads**, durably, so that a crash at any point leaves no link that leads nowhere; and when
//!   one could not be removed, no payload is.
//! - **Memory is a constant**, about twice [`CollectionOptions::memory`] and sixteen manifests: references go into temporary
//!   files by their first bits and are followed part by part.
//! - A dry run is the same work without the removals, and writes nothing.
//!
//! Pushes that run meanwhile: whoever is told that content is there has made it young by that (see
//! [`super::blob_access`]), in one step with looking for it, and a manifest is accepted only after each blob it mentions
//! was looked for in that way. So with a minimum age of an hour no accepted manifest loses a blob, as long as clocks
//! are within half an hour of the store's and no push takes half an hour between these two steps. This does not hold
//! for servers of another make, for manifests that are accepted without a look at what they mention
//! (`validation.disabled`), and for a minimum age of less than an hour: then nobody must write, and
//! a server that does is found by its sign (see [`super::live_servers`]).
//!
//! Must not: judge what a manifest is worth, or know which store this is.
//! Start at [`Registry::collect_garbage`]; `mark` finds references, `reach` follows them, `sweep` removes the rest, `tidy`
//! the folders that are left.

mod error;
mod mark;
mod prune;
mod reachability;
mod spill;
mod sweep;

use std::time::{Duration, SystemTime};

use registry_oci::{Digest, RepositoryName, Tag};

use super::{Error, Registry, hashing};
pub use error::GarbageError;
use mark::Marked;
use spill::Scratch;

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

/// What a server that writes to the store means for a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveServerPolicy {
    /// It does not begin.
    Refuse,
    /// It goes on.
    Ignore,
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

impl Registry {
    /// Removes garbage. `watch` is told what is going on.
    ///
    /// Dropping the future ends it between two removals; what is left is found by the next collection.
    ///
    /// # Errors
    /// [`GarbageError`]; nothing was removed then, unless the store failed in the middle.
    pub async fn collect_garbage(
        &self,
        collecting: &CollectionOptions,
        watch: &mut (dyn FnMut(CollectionEvent<'_>) + Send),
    ) -> Result<CollectionReport, GarbageError> {
        let now = match collecting.removal {
            // Nothing may be written, so the store cannot be asked.
            Removal::DryRun => SystemTime::now(),
            Removal::Remove => {
                let now = self.store_time().await?;
                self.refuse_live_servers(collecting, now).await?;
                now
            }
        };
        // From here on one limit: what is refreshed while this runs is younger, however long it runs.
        let limit = now
            .checked_sub(collecting.min_age)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let scratch = Scratch::new(collecting.memory).map_err(GarbageError::Scratch)?;
        let mut collected = CollectionReport::default();
        let marked = self
            .mark(collecting.untagged, limit, &scratch, &mut collected, watch)
            .await?;
        let Marked {
            edges,
            manifests,
            links,
            unreadable,
            ..
        } = marked;
        let follow_scratch = scratch.clone();
        let reached = blocking(move || edges.follow(&follow_scratch)).await?;
        if collecting.removal == Removal::Remove {
            // Marking takes hours on a large store: somebody may have started a server.
            self.refuse_live_servers(collecting, self.store_time().await?)
                .await?;
        }
        self.sweep(
            sweep::Garbage {
                reached,
                manifests,
                links,
                unreadable,
                limit,
                removal: collecting.removal,
                live_server_policy: collecting.live_server_policy,
            },
            &mut collected,
            watch,
        )
        .await?;
        if collecting.removal == Removal::Remove && collected.failed == 0 {
            self.prune_empty(collecting.untagged).await?;
        }
        Ok(collected)
    }

    async fn refuse_live_servers(
        &self,
        collecting: &CollectionOptions,
        now: SystemTime,
    ) -> Result<(), GarbageError> {
        let servers = self.live_servers(now).await?;
        match collecting.live_server_policy {
            LiveServerPolicy::Refuse if !servers.is_empty() => Err(GarbageError::Written { servers }),
            LiveServerPolicy::Refuse | LiveServerPolicy::Ignore => Ok(()),
        }
    }
}

/// Runs work on temporary files on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, GarbageError> {
    hashing::off_thread(work).await?.map_err(GarbageError::Scratch)
}

#[cfg(test)]
mod tests;
