//! A walk over every folder of repositories, for maintenance.
//!
//! Guarantees: every folder is visited, with those whose names no registry gives, because what lies in one may be a
//! repository that somebody set aside; memory is one folder's names at a time, and those of its siblings above.
//! Must not: follow a name longer than any repository's, so that a folder linked into itself ends.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, REPOSITORY_NAME_MAX, RepositoryName};

use super::{Error, Registry};
use crate::storage::StorageKey;
use crate::storage::layout::{self, Area, RepositoryEntry, repository_entry};

/// A folder, and what of a repository lies in it.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Its path below the root of repositories.
    pub(super) name: String,
    pub(super) manifests: bool,
    pub(super) layers: bool,
    pub(super) uploads: bool,
    pub(super) referrers: bool,
}

impl Folder {
    /// The repository it is, if a registry can have written it.
    pub(super) fn repository(&self) -> Option<RepositoryName> {
        RepositoryName::parse(&self.name).ok()
    }
}

/// A walk that is under way.
pub(super) struct Walk<'a> {
    registry: &'a Registry,
    root: StorageKey,
    /// Folders still to be looked at.
    pending: Vec<String>,
}

impl Registry {
    /// Walks below [`Area::Repositories`] or [`Area::IndexedRepositories`].
    ///
    /// # Errors
    /// The store's, when the root cannot be listed.
    pub(super) async fn walk(&self, root: Area<'_>) -> Result<Walk<'_>, Error> {
        let mut walk = Walk {
            registry: self,
            root: root.key(),
            pending: Vec::new(),
        };
        walk.look(String::new()).await?;
        Ok(walk)
    }

    /// With which bytes digests begin below an area.
    pub(super) async fn starts(&self, area: &Area<'_>) -> Result<Vec<u8>, Error> {
        let failed = Error::storage("list blobs");
        let mut listing = self.driver.list(&area.key()).await.map_err(&failed)?;
        let mut starts = Vec::new();
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            starts.extend(layout::listed_start(&entry.name));
        }
        Ok(starts)
    }

    /// The digests below an area, as they are found.
    pub(super) async fn listed(
        &self,
        area: &Area<'_>,
        algorithm: Algorithm,
        doing: &'static str,
    ) -> Result<stream::BoxStream<'static, Result<Digest, Error>>, Error> {
        let listing = self
            .driver
            .list(&area.key())
            .await
            .map_err(Error::storage(doing))?;
        Ok(listing
            .map_err(Error::storage(doing))
            .try_filter_map(move |entry| {
                std::future::ready(Ok(layout::listed_digest(algorithm, &entry.name)))
            })
            .boxed())
    }
}

impl Walk<'_> {
    /// The next folder, or why one cannot be looked at; the walk goes on behind it.
    pub(super) async fn next(&mut self) -> Option<Result<Folder, Error>> {
        let name = self.pending.pop()?;
        Some(self.look(name).await)
    }

    async fn look(&mut self, name: String) -> Result<Folder, Error> {
        let failed = Error::storage("list repositories");
        let mut key = self.root.clone();
        for component in name.split('/').filter(|component| !component.is_empty()) {
            key = key.child(component).map_err(&failed)?;
        }
        let mut listing = self.registry.driver.list(&key).await.map_err(&failed)?;
        let mut folder = Folder {
            name,
            ..Folder::default()
        };
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            match repository_entry(&entry) {
                RepositoryEntry::Component => {
                    let below = if folder.name.is_empty() {
                        entry.name
                    } else {
                        format!("{}/{}", folder.name, entry.name)
                    };
                    if below.len() <= REPOSITORY_NAME_MAX {
                        self.pending.push(below);
                    }
                }
                RepositoryEntry::Manifests => folder.manifests = true,
                RepositoryEntry::Layers => folder.layers = true,
                RepositoryEntry::Uploads => folder.uploads = true,
                RepositoryEntry::Referrers => folder.referrers = true,
                RepositoryEntry::Other => {}
            }
        }
        Ok(folder)
    }
}
