//! Lists, sets and deletes tags ("Listing Tags" and "Deleting tags", OCI distribution 1.1).

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, RepositoryName, Tag};

use super::concurrent_deletion::ATTEMPTS_MAX;
use super::{Error, Registry, offload};
use crate::storage::layout::{self, ObjectPath, PathPrefix};
use crate::storage::{Condition, Durability, EntryKind, OptionalExtension as _};

/// How many links of tags are read at once when all tags of a repository are read.
const READS_AT_ONCE: usize = 32;

/// How many tags are removed at once.
const REMOVALS_AT_ONCE: usize = 8;

/// A page of a sorted list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether there are more items behind the last one.
    pub more: bool,
}

impl<T> Page<T> {
    /// The first `limit` items of a sorted list.
    pub(super) fn of(mut items: Vec<T>, limit: Option<usize>) -> Self {
        // An empty page has no last item to continue from, so it announces no next page.
        let more = limit.is_some_and(|limit| limit > 0 && items.len() > limit);
        items.truncate(limit.unwrap_or(usize::MAX));
        Self { items, more }
    }
}

impl Registry {
    /// The tags of a repository, sorted by their bytes, from behind `last`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::RepositoryUnknown`], or the store's.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        last: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page<Tag>, Error> {
        let mut tags = self.all_tags(repository).await?;
        if tags.is_empty() && !self.repository_exists(repository).await? {
            return Err(Error::RepositoryUnknown {
                repository: repository.clone(),
            });
        }
        let last = last.map(ToOwned::to_owned);
        offload::by_count(tags.len(), move || {
            tags.retain(|tag| last.as_deref().is_none_or(|last| tag.as_str() > last));
            tags.sort_unstable();
            Page::of(tags, limit)
        })
        .await
    }

    /// Deletes a tag with its history. The manifest stays.
    ///
    /// # Errors
    /// [`Error::TagUnknown`], or the store's.
    pub async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        // A tag without a meaning, because its link was emptied by a crash or is gone, can be deleted too: whatever is
        // listed can be deleted.
        if !self.has_tag_link(repository, tag).await? && !self.all_tags(repository).await?.contains(tag) {
            return Err(Error::TagUnknown {
                repository: repository.clone(),
                tag: tag.clone(),
            });
        }
        self.record_deletion(repository).await?;
        let failed = Error::storage("delete a tag");
        let prefix = PathPrefix::Tag(repository, tag).key();
        for _ in 0..ATTEMPTS_MAX {
            self.driver
                .delete_tree(&prefix, Durability::PowerLoss)
                .await
                .map_err(&failed)?;
            // A push may have written into the history while the other part was removed. A tag without a meaning is
            // removed again; a push that is still under way checks whether all that it wrote exists.
            let mut rest = self.driver.list(&prefix).await.map_err(&failed)?;
            if rest.try_next().await.map_err(&failed)?.is_none() || self.has_tag_link(repository, tag).await?
            {
                return Ok(());
            }
        }
        // Somebody pushes the tag all the time, and pushed it last.
        Ok(())
    }

    /// Whether a tag has a link to what it means, whatever the link holds.
    pub(super) async fn has_tag_link(&self, repository: &RepositoryName, tag: &Tag) -> Result<bool, Error> {
        let link = ObjectPath::tag_current(repository, tag).key();
        let found = self.driver.try_stat(&link).await;
        Ok(found.map_err(Error::storage("look at a tag"))?.is_some())
    }

    /// Sets a tag to a manifest that the repository has. The history first: programs that clean up by the history would
    /// remove a tag whose current manifest is not in it. The caller checks afterwards whether a deletion removed a part
    /// of it: see [`super::concurrent_deletion`].
    pub(super) async fn put_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), Error> {
        let index = ObjectPath::tag_index(repository, tag, digest);
        self.write_link(&index, digest).await?;
        self.write_link(&ObjectPath::tag_current(repository, tag), digest)
            .await
    }

    /// The digest of the manifest that a tag means.
    pub(super) async fn tag_target(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, Error> {
        self.read_link(&ObjectPath::tag_current(repository, tag)).await
    }

    /// A tag that means one of these digests, if there is one.
    pub(super) async fn tag_of_any(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<Option<Tag>, Error> {
        Ok(self.tags_of(repository, digests).await?.pop())
    }

    /// Removes all tags that mean `digest`. A tag that is set to another manifest meanwhile stays.
    pub(super) async fn remove_tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        let found = self.tags_of(repository, &[*digest]).await?;
        let (registry, name, wanted) = (self.clone(), repository.clone(), *digest);
        let removals = stream::iter(found).map(move |tag| {
            let (registry, name) = (registry.clone(), name.clone());
            async move { registry.remove_tag_of(&name, &tag, &wanted).await }
        });
        removals
            .buffer_unordered(REMOVALS_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// The tags that mean one of these digests.
    async fn tags_of(&self, repository: &RepositoryName, digests: &[Digest]) -> Result<Vec<Tag>, Error> {
        let tags = self.all_tags(repository).await?;
        let (registry, name, wanted) = (self.clone(), repository.clone(), digests.to_vec());
        // Nearly all tags mean another manifest, and one read tells.
        let looks = stream::iter(tags).map(move |tag| {
            let (registry, name, wanted) = (registry.clone(), name.clone(), wanted.clone());
            async move {
                let target = registry.tag_target(&name, &tag).await?;
                let is_wanted = target.is_some_and(|target| wanted.contains(&target));
                Ok::<_, Error>(is_wanted.then_some(tag))
            }
        });
        looks
            .buffer_unordered(READS_AT_ONCE)
            .try_filter_map(|tag| std::future::ready(Ok(tag)))
            .try_collect()
            .await
    }

    async fn remove_tag_of(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), Error> {
        let failed = Error::storage("delete a tag");
        let current = ObjectPath::tag_current(repository, tag);
        // Before the link is read: entries that are written after this moment belong to a push that sets the tag again.
        let Some(found) = self.driver.try_stat(&current.key()).await.map_err(&failed)? else {
            return Ok(());
        };
        let set = found.modified;
        let bytes = match self.read_raw_link(&current).await? {
            Some(link) if link.target == Some(*digest) => link.bytes,
            Some(_) | None => return Ok(()),
        };
        // All of a tag is removed, its folders too, because a folder is what lists a tag. The link to what it means is
        // removed last, so that a deletion that broke off can be repeated.
        let prune_root = current.prune_root();
        let remove = async |path: &ObjectPath, condition: Condition| {
            let key = path.key();
            let removed = self
                .driver
                .delete_if(&key, &condition, &prune_root, Durability::PowerLoss);
            let removed = removed.await.optional();
            removed.map(drop).map_err(&failed)
        };
        for entry in self.history(repository, tag).await? {
            remove(&entry, Condition::Older(set)).await?;
        }
        remove(&current, Condition::Holds(bytes)).await?;
        // A push that sets the tag may have written into its history meanwhile. A tag without a meaning must not be
        // listed; a push that is still under way checks whether all that it wrote exists.
        for _ in 0..ATTEMPTS_MAX {
            let rest = self.history(repository, tag).await?;
            if rest.is_empty() || self.has_tag_link(repository, tag).await? {
                break;
            }
            for entry in rest {
                if let ObjectPath::TagIndex { digest, .. } = &entry {
                    let bytes = Bytes::from(digest.to_string());
                    remove(&entry, Condition::Holds(bytes)).await?;
                }
            }
        }
        Ok(())
    }

    /// The entries in the history of a tag.
    async fn history(&self, repository: &RepositoryName, tag: &Tag) -> Result<Vec<ObjectPath>, Error> {
        let failed = Error::storage("list the history of a tag");
        let mut history = Vec::new();
        for algorithm in Algorithm::ALL {
            let prefix = PathPrefix::TagHistory(repository, tag, algorithm).key();
            let mut listing = self.driver.list(&prefix).await.map_err(&failed)?;
            while let Some(entry) = listing.try_next().await.map_err(&failed)? {
                if let Some(digest) = layout::listed_digest(algorithm, &entry.name) {
                    history.push(ObjectPath::tag_index(repository, tag, &digest));
                }
            }
        }
        Ok(history)
    }

    async fn all_tags(&self, repository: &RepositoryName) -> Result<Vec<Tag>, Error> {
        let failed = Error::storage("list tags");
        let listing = self
            .driver
            .list(&PathPrefix::Tags(repository).key())
            .await
            .map_err(&failed)?;
        listing
            .try_filter_map(async |entry| {
                Ok(Tag::parse(&entry.name)
                    .ok()
                    .filter(|_| entry.kind == EntryKind::Prefix))
            })
            .try_collect()
            .await
            .map_err(failed)
    }
}
