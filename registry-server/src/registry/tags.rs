//! Tags ("Listing Tags" and "Deleting tags", OCI distribution 1.1).

use futures_util::TryStreamExt as _;
use registry_oci::{Digest, RepositoryName, Tag};

use super::{Error, Registry};
use crate::storage::layout::{Area, Place};
use crate::storage::{Durability, EntryKind};

/// A part of a sorted list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

impl<T> Page<T> {
    /// The first `limit` items of a sorted list.
    pub(super) fn of(mut items: Vec<T>, limit: Option<usize>) -> Self {
        // A page of no items has no last one to go on from, so it announces none.
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
        tags.retain(|tag| last.is_none_or(|last| tag.as_str() > last));
        tags.sort_unstable();
        Ok(Page::of(tags, limit))
    }

    /// Takes a tag away, with its history. The manifest stays.
    ///
    /// # Errors
    /// [`Error::TagUnknown`], or the store's.
    pub async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        if self.tag_target(repository, tag).await?.is_none() {
            return Err(Error::TagUnknown {
                repository: repository.clone(),
                tag: tag.clone(),
            });
        }
        self.remove_tag(repository, tag).await
    }

    /// Points a tag at a manifest the repository has. The history first: a tag whose present is not in its past
    /// would be lost to whoever cleans up by the history.
    pub(super) async fn put_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), Error> {
        let (repository, tag) = (repository.clone(), tag.clone());
        let index = Place::TagIndex {
            repository: repository.clone(),
            tag: tag.clone(),
            digest: *digest,
        };
        self.write_link(&index, digest).await?;
        self.write_link(&Place::TagCurrent { repository, tag }, digest)
            .await
    }

    /// The digest a tag means.
    pub(super) async fn tag_target(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, Error> {
        self.read_link(&Place::TagCurrent {
            repository: repository.clone(),
            tag: tag.clone(),
        })
        .await
    }

    /// Takes away every tag that means `digest`.
    pub(super) async fn remove_tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        for tag in self.all_tags(repository).await? {
            if self.tag_target(repository, &tag).await?.as_ref() == Some(digest) {
                self.remove_tag(repository, &tag).await?;
            }
        }
        Ok(())
    }

    async fn remove_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        let area = Area::Tag(repository, tag).key();
        self.driver
            .delete_tree(&area, Durability::PowerLoss)
            .await
            .map_err(Error::storage("delete a tag"))
    }

    async fn all_tags(&self, repository: &RepositoryName) -> Result<Vec<Tag>, Error> {
        let failed = Error::storage("list tags");
        let listing = self
            .driver
            .list(&Area::Tags(repository).key())
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
