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

mod blocking;
pub(super) mod error;
mod mark;
mod prune;
mod reachability;
pub(super) mod report;
mod spill;
mod sweep;

use std::time::SystemTime;

use self::blocking::blocking;
use self::error::GarbageError;
use self::mark::Marked;
use self::report::{CollectionEvent, CollectionOptions, CollectionReport, Removal};
use self::spill::Scratch;
use super::Registry;
use super::live_servers::LiveServerPolicy;

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
            sweep::SweepInput {
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

#[cfg(test)]
mod tests;
