//! Deletes manifests while pushes run, on any number of servers, without a lock.
//!
//! A deletion and a push of the same manifest can interleave: the deletion removes the tags of the manifest, then the
//! push sets another tag, then the deletion removes the manifest. So both sides look again after they wrote:
//!
//! - **A deletion first writes a deletion record** ([`ObjectPath::LastDeletion`]), one object per repository. Only its
//!   time matters.
//! - **A push writes, then looks at the deletion record.** If there is no deletion record, or it is older than
//!   [`RECENT`], nothing of the repository was removed since the push began, so all that the push found and wrote is
//!   there. Otherwise the push checks whether all that it wrote is in its place, and writes again what is not.
//! - **A push looks up again what the manifest refers to**, after it wrote the link of the manifest and before it sets
//!   the first tag. If a blob or child was deleted before anybody could see the reference, the push fails as if it came
//!   later. A deletion after that look deletes something that is referred to, which a registry allows.
//! - **A deletion looks for tags again after it removed the links.** A tag that now means the manifest was set in the
//!   meantime: the links are written again, and the push counts as later than the deletion. The links are only removed
//!   while they are as old as they were before the tags were listed, so most pushes in between leave no gap at all.
//! - **After its second look, neither side removes anything because of the first.** A deletion never removes a tag that
//!   it found after the links were gone: a push may have been acknowledged between a look and a removal.
//! - **An entry of the referrers index is not removed while a push may rely on it.** The entry is written before the
//!   link, and the mark "looked at" after the link. A deletion removes both only when they are older than [`RECENT`],
//!   the mark first. The garbage collection removes younger ones; readers believe an entry only when its link exists.
//!
//! The link of a blob is one object: the later of a link and a deletion wins, and neither needs a second look. The
//! garbage collection and the purge of uploads remove by age ([`super::blob_access`], [`super::purge`]). A collection
//! that is forced to run beside writing servers also writes the deletion record, because object stores cannot remove on
//! a condition in one step.
//!
//! Cost: one look per push, and one more per push of a tag, which replaces the look at the tag itself. The clocks of
//! servers may differ from the store's by half an hour, and a push may take half an hour.
//! Start at [`Registry::delete_manifest`] and [`Registry::has_recent_deletion`].

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use registry_oci::{Algorithm, Digest, Reference, RepositoryName};

use super::offload::detached;
use super::{Error, Registry, hashing};
use crate::cache::{Link, LinkKind};
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::{Condition, Durability, EntryKind, Mode, OptionalExtension as _};

/// A deletion within this time may have run beside a push that is still under way.
const RECENT: Duration = Duration::from_secs(3600);

/// How often a deletion or a push tries, when the other comes in between.
pub(super) const ATTEMPTS_MAX: usize = 8;

impl Registry {
    /// Records that something of a repository is about to be deleted. Call this before the first removal, never after
    /// it.
    pub(super) async fn record_deletion(&self, repository: &RepositoryName) -> Result<(), Error> {
        let failed = Error::storage("record a deletion");
        let path = ObjectPath::last_deletion(repository);
        let key = path.key();
        loop {
            self.driver
                .put(&key, Bytes::new(), Mode::Replace, Durability::Crash)
                .await
                .map_err(&failed)?;
            // A collection may be removing the record of an earlier deletion.
            if self.driver.confirm_put(&key).await.map_err(&failed)? {
                return Ok(());
            }
        }
    }

    /// Whether something of a repository may have been deleted since a push began that is still under way.
    pub(super) async fn has_recent_deletion(&self, repository: &RepositoryName) -> Result<bool, Error> {
        let path = ObjectPath::last_deletion(repository);
        let record = self.driver.try_stat(&path.key()).await;
        let record = record.map_err(Error::storage("look for the record of a deletion"))?;
        Ok(record.is_some_and(|record| is_recent(record.modified)))
    }

    /// Whether an object that was just written exists, even when somebody is removing its predecessor.
    pub(super) async fn is_in_place(&self, path: &ObjectPath) -> Result<bool, Error> {
        let failed = Error::storage("look at a written object");
        let key = path.key();
        Ok(self.driver.confirm_put(&key).await.map_err(&failed)?
            && self.driver.try_stat(&key).await.map_err(&failed)?.is_some())
    }

    /// Deletes a manifest with every tag that means it. Its payload stays for the garbage collection. The deletion goes
    /// on to its end even when the client is gone.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::CacheInvalidation`], or the store's.
    pub async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let (registry, repository, digest) = (self.clone(), repository.clone(), *digest);
        detached(async move { registry.remove_manifest(&repository, &digest).await }).await
    }

    pub(super) async fn remove_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        let link = ObjectPath::revision_link(repository, digest);
        let Some(found) = self.read_raw_link(&link).await? else {
            // The last attempt may have failed because the cache could not be reached.
            self.invalidate_path(&link).await?;
            let reference = Reference::Digest(*digest);
            return Err(Error::ManifestUnknown {
                repository: repository.clone(),
                reference,
            });
        };
        // A manifest whose link was emptied by a crash is not served, but can be deleted like any other.
        let canonical = found.target.unwrap_or(*digest);
        // The same bytes may have links under two algorithms; both are deleted.
        let mut names = vec![*digest];
        if canonical != *digest {
            names.push(canonical);
        } else if let Some(other) = self.sha512_name(repository, &canonical).await? {
            names.push(other);
        }
        // The entry of a manifest that cannot be read is not found, but readers do not believe it.
        let loaded = self.load_manifest(repository, &canonical).await;
        let subject = loaded.ok().flatten().and_then(|(stored, _)| stored.subject);
        self.invalidate_manifests(repository, &names).await?;
        self.record_deletion(repository).await?;
        self.remove_tags_and_links(repository, &names, &canonical).await?;
        for name in &names {
            self.remove_referrer_entry(repository, name, subject).await?;
        }
        self.invalidate_manifests(repository, &names).await
    }

    async fn invalidate_manifests(&self, repository: &RepositoryName, names: &[Digest]) -> Result<(), Error> {
        for digest in names {
            let kind = LinkKind::Manifest;
            self.invalidate(&Link {
                kind,
                repository,
                digest,
            })
            .await?;
        }
        Ok(())
    }

    /// Removes the tags and the links of a manifest, unless a push of it comes later.
    async fn remove_tags_and_links(
        &self,
        repository: &RepositoryName,
        names: &[Digest],
        canonical: &Digest,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS_MAX {
            // Before the tags are listed: a push that sets a tag which the list does not show also renews a link.
            let written = self.link_times(repository, names).await?;
            // The tags first, and the digest that was asked for last: a deletion that broke off can be repeated, and no
            // tag is left without its manifest.
            for name in names {
                self.remove_tags_of(repository, name).await?;
            }
            // Listing many tags takes a while, and pushes must find a recent deletion record from now on.
            self.record_deletion(repository).await?;
            if !self.remove_links(repository, &written).await? {
                // The link was written again, or only renewed for an index that refers to it.
                match self.tag_of_any(repository, names).await? {
                    Some(_) => return Ok(()),
                    None => continue,
                }
            }
            // A push that wrote these links ended long ago, and a later one finds them missing.
            if !written.iter().any(|(_, written)| is_recent(*written)) {
                return Ok(());
            }
            let Some(tag) = self.tag_of_any(repository, names).await? else {
                return Ok(());
            };
            let other = names.iter().find(|name| *name != canonical).unwrap_or(canonical);
            self.link_manifest(repository, *other, *canonical).await?;
            // If the tag is gone again, nothing keeps the links that were just written.
            let means = self.tag_target(repository, &tag).await?;
            if means.is_some_and(|digest| names.contains(&digest)) {
                return Ok(());
            }
        }
        // Somebody pushes the manifest all the time, and pushed it last.
        Ok(())
    }

    /// The links of a manifest and when they were last written, in the order in which they are removed.
    async fn link_times(
        &self,
        repository: &RepositoryName,
        names: &[Digest],
    ) -> Result<Vec<(ObjectPath, SystemTime)>, Error> {
        let mut written = Vec::new();
        for name in names.iter().rev() {
            let link = ObjectPath::revision_link(repository, name);
            if let Some(found) = self
                .driver
                .stat_touched(&link.key())
                .await
                .optional()
                .map_err(Error::storage("look at the link of a manifest"))?
            {
                written.push((link, found.modified));
            }
        }
        Ok(written)
    }

    /// Removes links that are as old as they were. Returns whether all of them were.
    async fn remove_links(
        &self,
        repository: &RepositoryName,
        written: &[(ObjectPath, SystemTime)],
    ) -> Result<bool, Error> {
        let failed = Error::storage("delete the link of a manifest");
        for (link, written) in written {
            let (key, prune_root) = (link.key(), link.prune_root());
            let unchanged = Condition::Older(*written);
            let removed = self
                .driver
                .delete_if(&key, &unchanged, &prune_root, Durability::PowerLoss);
            match removed.await {
                Ok(Some(_)) => self.remove_link_siblings(repository, link).await?,
                Ok(None) => return Ok(false),
                Err(error) if error.is_not_found() => {}
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(true)
    }

    /// Removes what other servers keep in the folder of a manifest's link, such as signatures. The link itself stays:
    /// it may exist again.
    async fn remove_link_siblings(
        &self,
        repository: &RepositoryName,
        link: &ObjectPath,
    ) -> Result<(), Error> {
        let ObjectPath::RevisionLink { digest, .. } = link else {
            return Ok(());
        };
        let failed = Error::storage("delete the folders beside the link of a manifest");
        let prefix = PathPrefix::Revision(repository, digest).key();
        let mut listing = self.driver.list(&prefix).await.map_err(&failed)?;
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            if entry.kind == EntryKind::Prefix {
                let below = prefix
                    .child(&entry.name)
                    .map_err(crate::storage::Error::from)
                    .map_err(&failed)?;
                self.driver
                    .delete_tree(&below, Durability::Crash)
                    .await
                    .map_err(&failed)?;
            }
        }
        Ok(())
    }

    /// Removes the entry of a manifest in the referrers index, unless a push may rely on it.
    async fn remove_referrer_entry(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        subject: Option<Digest>,
    ) -> Result<(), Error> {
        let entry = subject.map(|subject| ObjectPath::referrer_entry(repository, &subject, digest));
        // The mark first: without it the manifest is looked at again, and its entry is written again.
        let mark = ObjectPath::referrer_known(repository, digest);
        let old = SystemTime::now()
            .checked_sub(RECENT)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        for path in std::iter::once(mark).chain(entry) {
            let (key, prune_root) = (path.key(), path.prune_root());
            let condition = Condition::Older(old);
            let removed = self
                .driver
                .delete_if(&key, &condition, &prune_root, Durability::PowerLoss);
            match removed.await {
                Ok(Some(_)) => {}
                // The entry is as young as its mark, or younger.
                Ok(None) => return Ok(()),
                Err(error) if error.is_not_found() => {}
                Err(source) => return Err(Error::storage("remove a referrer")(source)),
            }
        }
        Ok(())
    }

    /// The SHA-512 of a manifest, if the repository has a link under it. It cannot be computed from damaged bytes; such
    /// a manifest can be deleted all the same, and is not served under its SHA-512.
    async fn sha512_name(
        &self,
        repository: &RepositoryName,
        canonical: &Digest,
    ) -> Result<Option<Digest>, Error> {
        let bytes = match self.manifest_bytes(canonical).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(Error::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let other = hashing::digest(Algorithm::Sha512, &bytes).await?;
        Ok(self
            .manifest_link_target(repository, &other)
            .await?
            .map(|_| other))
    }
}

/// Whether a time is recent. A time in the future is: clocks differ.
fn is_recent(time: SystemTime) -> bool {
    SystemTime::now()
        .duration_since(time)
        .map_or(true, |age| age < RECENT)
}
