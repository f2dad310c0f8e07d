//! The list of repositories (distribution's `_catalog`, which is not a part of the OCI specification).

use std::cmp::Ordering;

use futures_util::TryStreamExt as _;
use registry_oci::RepositoryName;

use super::walk::may_hold_repositories;
use super::{Error, Registry};
use crate::storage::StorageKey;
use crate::storage::layout::{PathPrefix, RepositoryEntry, repository_entry};

/// How many folders one request reads, in addition to [`FOLDERS_EACH`] for each repository that it may list. The number
/// is larger than that of components in a name, so that every page makes progress.
const FOLDERS: usize = 2000;

/// How many folders may be read for each repository: its own and those above it.
const FOLDERS_EACH: usize = 4;

/// A part of the list of repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogPage {
    /// The repositories.
    pub repositories: Vec<RepositoryName>,
    /// The name behind which the next page begins, if there may be more: that of the last repository, or that of the
    /// folder at which a page ended because it had read too many.
    pub next: Option<String>,
}

impl Registry {
    /// The repositories that have a manifests folder, from behind `last`, at most `limit`. They are in the order of
    /// distribution's walk: by components, so that `a/b` stands before `a-b`.
    ///
    /// The work is bounded, whatever folders exist: a page may be short, or even empty, although there are more
    /// repositories.
    ///
    /// # Errors
    /// The store's.
    pub async fn catalog(&self, last: Option<&str>, limit: usize) -> Result<CatalogPage, Error> {
        let mut found: Vec<RepositoryName> = Vec::new();
        let mut budget = limit.saturating_mul(FOLDERS_EACH).saturating_add(FOLDERS);
        // One repository more than asked for tells whether there are more.
        let enough = limit.saturating_add(1);
        // Names that are still to be read, the next one on top.
        let mut pending = self
            .level(&PathPrefix::Repositories.key(), "", last)
            .await?
            .components;
        pending.reverse();
        while found.len() < enough
            && let Some(name) = pending.pop()
        {
            let repository = RepositoryName::parse(&name).ok();
            let key = match &repository {
                Some(repository) => PathPrefix::Repository(repository).key(),
                // Such a name always has one component.
                None if may_hold_repositories(&name) => PathPrefix::Repositories
                    .key()
                    .child(&name)
                    .map_err(crate::storage::Error::from)
                    .map_err(Error::storage("list repositories"))?,
                None => continue,
            };
            let level = self.level(&key, &name, last).await?;
            pending.extend(level.components.into_iter().rev());
            if let Some(repository) = repository
                && level.is_repository
                && last.is_none_or(|last| by_components(&name, last).is_gt())
            {
                found.push(repository);
            }
            budget -= 1;
            if budget == 0 && !pending.is_empty() && limit > 0 && found.len() <= limit {
                return Ok(CatalogPage {
                    repositories: found,
                    next: Some(name),
                });
            }
        }
        // An empty page has no last item to continue from, so it announces no next page.
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(ToString::to_string);
        Ok(CatalogPage {
            repositories: found,
            next,
        })
    }

    /// Whether a repository exists: whether anything was ever pushed to it.
    pub(super) async fn repository_exists(&self, repository: &RepositoryName) -> Result<bool, Error> {
        for area in [PathPrefix::Manifests(repository), PathPrefix::Layers(repository)] {
            let failed = Error::storage("look for a repository");
            let mut listing = self.driver.list(&area.key()).await.map_err(&failed)?;
            if listing.try_next().await.map_err(failed)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn level(&self, prefix: &StorageKey, name: &str, last: Option<&str>) -> Result<Level, Error> {
        let failed = Error::storage("list repositories");
        let mut listing = self.driver.list(prefix).await.map_err(&failed)?;
        let mut level = Level {
            is_repository: false,
            components: Vec::new(),
        };
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            match repository_entry(&entry) {
                RepositoryEntry::Manifests => level.is_repository = true,
                RepositoryEntry::Component => {
                    let below = if name.is_empty() {
                        entry.name
                    } else {
                        format!("{name}/{}", entry.name)
                    };
                    if last.is_none_or(|last| may_hold_later(&below, last)) {
                        level.components.push(below);
                    }
                }
                RepositoryEntry::Layers
                | RepositoryEntry::Uploads
                | RepositoryEntry::Referrers
                | RepositoryEntry::LastDeletion
                | RepositoryEntry::Other => {}
            }
        }
        level
            .components
            .sort_unstable_by(|one, two| by_components(one, two));
        Ok(level)
    }
}

struct Level {
    is_repository: bool,
    /// Names of the next level, sorted.
    components: Vec<String>,
}

fn by_components(one: &str, two: &str) -> Ordering {
    one.split('/').cmp(two.split('/'))
}

/// Whether `name`, or a repository below it, comes behind `last`.
fn may_hold_later(name: &str, last: &str) -> bool {
    by_components(name, last).is_ge() || last.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
}
