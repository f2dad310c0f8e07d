//! Removes the empty folders that a collection, or earlier deletions, left. Clients see them: a tag is listed by its
//! folder, and a repository stands in the catalog by its folder.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{RepositoryName, Tag};

use super::error::GarbageError;
use super::report::Untagged;
use crate::registry::{Error, Registry};
use crate::storage::EntryKind;
use crate::storage::layout::PathPrefix;

/// How many tags are checked at once.
const AT_ONCE: usize = 16;

impl Registry {
    /// Removes the empty folders of every repository, on stores that keep empty folders.
    pub(super) async fn prune_empty(&self, untagged: Untagged) -> Result<(), GarbageError> {
        if !self.driver.keeps_empty_prefixes() {
            return Ok(());
        }
        let mut walk = self.walk(PathPrefix::Repositories).await?;
        while let Some(folder) = walk.next().await {
            let folder = folder?;
            let Some(repository) = folder.repository().filter(|_| folder.manifests) else {
                continue;
            };
            if untagged == Untagged::Delete {
                self.prune_tags(&repository).await?;
            }
            let prune_root = PathPrefix::Repositories.key();
            // Without a manifests folder there is no repository, and the folders of its blobs and uploads can be
            // removed too.
            for prefix in [
                PathPrefix::Manifests(&repository),
                PathPrefix::Layers(&repository),
                PathPrefix::Uploads(&repository),
            ] {
                let pruned = self.driver.prune(&prefix.key(), &prune_root).await;
                if !pruned.map_err(Error::storage("remove empty folders"))? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Removes the empty folders of tags.
    async fn prune_tags(&self, repository: &RepositoryName) -> Result<(), Error> {
        let failed = Error::storage("list tags");
        let prefix = PathPrefix::Tags(repository).key();
        let tags = self.driver.list(&prefix).await.map_err(&failed)?;
        let tags: Vec<Tag> = tags
            .try_filter_map(async |entry| {
                let tag = Tag::parse(&entry.name).ok();
                Ok(tag.filter(|_| entry.kind == EntryKind::Prefix))
            })
            .try_collect()
            .await
            .map_err(&failed)?;
        stream::iter(tags)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, async |tag| {
                if self.has_tag_link(repository, &tag).await? {
                    return Ok(());
                }
                let pruned = self
                    .driver
                    .prune(&PathPrefix::Tag(repository, &tag).key(), &prefix)
                    .await;
                pruned.map(drop).map_err(Error::storage("remove empty folders"))
            })
            .await
    }
}
