//! Walks over all folders of repositories, for maintenance.
//!
//! Guarantees: every folder is visited, also those with names that no registry gives, because somebody may have set a
//! repository aside there. Memory: the names in one folder at a time, and those of its siblings above. A folder that
//! cannot be read and cannot be a repository is skipped.
//! Must not: follow a name longer than any repository's, so that a walk through a folder that is linked into itself
//! ends.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, REPOSITORY_NAME_MAX, RepositoryName};

use super::{Error, Registry};
use crate::storage::StorageKey;
use crate::storage::layout::{self, PathPrefix, RepositoryEntry, repository_entry};

/// A folder, and which folders of a repository are in it.
#[derive(Debug, Default)]
pub(super) struct RepositoryFolder {
    /// Its path below the folder of all repositories.
    pub(super) name: String,
    /// Its key.
    pub(super) key: Option<StorageKey>,
    /// Whether it is empty.
    pub(super) is_empty: bool,
    pub(super) manifests: bool,
    pub(super) layers: bool,
    pub(super) uploads: bool,
    pub(super) referrers: bool,
    pub(super) last_deletion: bool,
}

impl RepositoryFolder {
    /// The repository that it is, if its name is one of a repository.
    pub(super) fn repository(&self) -> Option<RepositoryName> {
        RepositoryName::parse(&self.name).ok()
    }
}

/// Whether an error comes from a folder that is not a registry's and that this process may not read.
fn is_foreign_folder(name: &str, error: &Error) -> bool {
    let denied = matches!(error, Error::Storage { source, .. } if source.is_denied());
    denied && !may_hold_repositories(name)
}

/// Whether a folder of this name is a repository or can hold one. A host alone is no name of a repository, but names
/// begin with one.
pub(super) fn may_hold_repositories(name: &str) -> bool {
    RepositoryName::parse(name).is_ok() || RepositoryName::parse(&format!("{name}/x")).is_ok()
}

/// A walk over folders.
pub(super) struct RepositoryWalk<'a> {
    registry: &'a Registry,
    root: StorageKey,
    /// The folders that are still to be visited.
    pending: Vec<String>,
}

impl Registry {
    /// Starts a walk below [`PathPrefix::Repositories`] or [`PathPrefix::IndexedRepositories`].
    ///
    /// # Errors
    /// The store's, when the root cannot be listed.
    pub(super) async fn walk(&self, root: PathPrefix<'_>) -> Result<RepositoryWalk<'_>, Error> {
        let mut walk = RepositoryWalk {
            registry: self,
            root: root.key(),
            pending: Vec::new(),
        };
        walk.visit(String::new()).await?;
        Ok(walk)
    }

    /// The first bytes of the digests below an area.
    pub(super) async fn first_bytes(&self, prefix: &PathPrefix<'_>) -> Result<Vec<u8>, Error> {
        let failed = Error::storage("list blobs");
        let mut listing = self.driver.list(&prefix.key()).await.map_err(&failed)?;
        let mut starts = Vec::new();
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            starts.extend(layout::listed_start(&entry.name));
        }
        Ok(starts)
    }

    /// The digests below an area, as they are found.
    pub(super) async fn list_digests(
        &self,
        prefix: &PathPrefix<'_>,
        algorithm: Algorithm,
        doing: &'static str,
    ) -> Result<stream::BoxStream<'static, Result<Digest, Error>>, Error> {
        let listing = self
            .driver
            .list(&prefix.key())
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

impl RepositoryWalk<'_> {
    /// The next folder, or why one cannot be read; the walk continues behind it. A folder that this process may not
    /// read is skipped when no repository can have its name: `lost+found` is root's.
    pub(super) async fn next(&mut self) -> Option<Result<RepositoryFolder, Error>> {
        loop {
            let name = self.pending.pop()?;
            match self.visit(name.clone()).await {
                Err(error) if is_foreign_folder(&name, &error) => {
                    tracing::warn!(
                        error = crate::fault::chain(&error),
                        "a folder that cannot be a repository is skipped"
                    );
                }
                found => return Some(found),
            }
        }
    }

    async fn visit(&mut self, name: String) -> Result<RepositoryFolder, Error> {
        let failed = Error::storage("list repositories");
        let mut key = self.root.clone();
        for component in name.split('/').filter(|component| !component.is_empty()) {
            key = key
                .child(component)
                .map_err(crate::storage::Error::from)
                .map_err(&failed)?;
        }
        let mut listing = self.registry.driver.list(&key).await.map_err(&failed)?;
        let mut folder = RepositoryFolder {
            name,
            key: Some(key),
            is_empty: true,
            ..RepositoryFolder::default()
        };
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            folder.is_empty = false;
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
                RepositoryEntry::LastDeletion => folder.last_deletion = true,
                RepositoryEntry::Other => {}
            }
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn only_folders_that_cannot_be_repositories_are_skipped_and_only_when_access_is_denied() {
        let error = |kind: io::ErrorKind| {
            let key = StorageKey::parse("docker").unwrap();
            Error::storage("list repositories")(crate::storage::Error::io("list", &key, kind.into()))
        };
        for (name, strange) in [
            ("lost+found", true),
            (".Trash-0", true),
            ("app/lost+found", true),
            ("@eaDir", true),
            ("app", false),
            ("app/sub", false),
            // Hosts begin names.
            ("localhost:5000", false),
        ] {
            let denied = error(io::ErrorKind::PermissionDenied);
            assert_eq!(is_foreign_folder(name, &denied), strange, "{name}");
            assert!(
                !is_foreign_folder(name, &error(io::ErrorKind::TimedOut)),
                "{name}"
            );
        }
    }
}
