//! Garbage collection: removes content that no manifest refers to.
//!
//! A collection keeps all manifests of a repository, and the content that a kept manifest refers to. With
//! [`Untagged::Delete`], it only keeps those manifests that a tag means, that a kept index lists, or whose subject is
//! kept, over any number of steps. It removes everything else: the links of manifests and blobs, payloads, and our own
//! index of them. A repository in which nothing is left disappears from the catalog. With [`Untagged::Delete`], tags
//! without a meaning are removed too: those without a link, and those whose manifest the repository does not have.
//!
//! Guarantees:
//! - **Nothing younger than the minimum age is removed.** The age is that of the younger of a payload and its link; a
//!   young manifest keeps the content that it refers to. Ages are measured by the store's clock.
//! - **Nothing is removed because something cannot be read.** A kept manifest that is damaged, or is no manifest at
//!   all, ends the collection before it removes anything. A manifest whose payload is missing refers to nothing and
//!   ends nothing.
//! - **Links are removed before payloads**, durably, so a crash at any point leaves no link without a payload. When a
//!   link could not be removed, no payload is.
//! - **Memory is a constant**: about twice [`CollectionOptions::memory`], and sixteen manifests. References go into
//!   temporary files by their first bits and are followed part by part.
//! - A dry run does the same work without the removals, and writes nothing.
//!
//! Pushes beside a collection: an answer that content exists renews the content, in one step with looking it up (see
//! [`super::blob_access`]). A manifest is accepted only after each blob that it refers to was looked up in this way. So
//! with a minimum age of an hour no accepted manifest loses a blob, as long as clocks differ from the store's by less
//! than half an hour, and no push takes half an hour between these two steps. This does not hold for other server
//! programs, for manifests that are accepted without looking up their content (`validation.disabled`), and for a
//! minimum age of less than an hour. Then nobody may write; a live server is found by its heartbeat (see
//! [`super::live_servers`]).
//!
//! Must not: judge the worth of a manifest, or know which store this is.
//! Start at [`Registry::collect_garbage`]. `mark` finds references, `reachability` follows them, `sweep` removes the
//! rest, and `prune` removes empty folders.

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
    /// Removes garbage. `watch` is called with events.
    ///
    /// Dropping the future ends the collection between two removals. The next collection finds what is left.
    ///
    /// # Errors
    /// [`GarbageError`]; nothing was removed then, unless the store failed in the middle.
    pub async fn collect_garbage(
        &self,
        collecting: &CollectionOptions,
        watch: &mut (dyn FnMut(CollectionEvent<'_>) + Send),
    ) -> Result<CollectionReport, GarbageError> {
        let now = match collecting.removal {
            // A dry run writes nothing, so it cannot ask the store for its time.
            Removal::DryRun => SystemTime::now(),
            Removal::Remove => {
                let now = self.store_time().await?;
                self.refuse_live_servers(collecting, now).await?;
                now
            }
        };
        // One limit from here on: content that is renewed while this runs is younger, however long it runs.
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
            // Marking takes hours on a large store: a server may have been started in the meantime.
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
            LiveServerPolicy::Refuse if !servers.is_empty() => Err(GarbageError::LiveServers { servers }),
            LiveServerPolicy::Refuse | LiveServerPolicy::Ignore => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
