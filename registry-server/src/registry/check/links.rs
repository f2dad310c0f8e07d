//! Checks repositories: their manifests, the links to their blobs, their tags, and our own index of them.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use registry_oci::{Algorithm, Descriptor, Digest, MANIFEST_MAX, RepositoryName, Tag};

use super::diagnosis::{Diagnosis, Move};
use super::error::CheckError;
use super::finding::{Finding, TagHistory};
use super::inspector::Inspector;
use super::manifests::SizeMemo;
use super::run::CheckRun;
use crate::registry::Error;
use crate::registry::links::DatedLink;
use crate::registry::verify::SmallObject;
use crate::registry::walk::RepositoryFolder;
use crate::storage::layout::{self, ObjectPath, PathPrefix};
use crate::storage::{EntryKind, Listing};

/// How many links or tags are checked at once.
const AT_ONCE: usize = 16;

/// How many manifests are checked at once. Each may be as large as a stored manifest can be.
const MANIFESTS: usize = 8;

impl CheckRun<'_> {
    /// Checks a folder, if it is a repository.
    pub(super) async fn folder(&mut self, folder: RepositoryFolder) -> Result<(), CheckError> {
        if !folder.manifests && !folder.layers {
            return Ok(());
        }
        let Some(repository) = folder.repository() else {
            let finding = Finding::RepositoryNameInvalid { name: folder.name };
            return self.handle(Ok(vec![Diagnosis::beyond_repair(finding)])).await;
        };
        self.checked.repositories += 1;
        self.report_repositories();
        for algorithm in Algorithm::ALL {
            self.revisions(&repository, algorithm).await?;
        }
        for algorithm in Algorithm::ALL {
            self.layers(&repository, algorithm).await?;
        }
        self.tags(&repository).await?;
        for algorithm in Algorithm::ALL {
            self.referrers(&repository, algorithm).await?;
        }
        Ok(())
    }

    /// Checks the manifests of a repository. A listing that fails is a finding of its own.
    async fn revisions(
        &mut self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<(), CheckError> {
        let area = PathPrefix::Revisions(repository, algorithm);
        let digests = match self
            .registry
            .list_digests(&area, algorithm, "list manifests")
            .await
        {
            Ok(digests) => digests,
            Err(error) => return self.unreadable(error).await,
        };
        let (inspector, memo) = (Arc::clone(&self.inspector), SizeMemo::default());
        let mut looks = digests
            .map(|digest| {
                let (inspector, memo) = (&inspector, &memo);
                async move { inspector.manifest(repository, digest?, memo).await }
            })
            .buffer_unordered(MANIFESTS)
            .boxed();
        while let Some(look) = looks.next().await {
            self.checked.manifests += 1;
            self.checked.links += 1;
            self.handle(look).await?;
            self.report_repositories();
        }
        Ok(())
    }

    async fn layers(&mut self, repository: &RepositoryName, algorithm: Algorithm) -> Result<(), CheckError> {
        let area = PathPrefix::LayersOf(repository, algorithm);
        let doing = "list the blobs of a repository";
        let digests = match self.registry.list_digests(&area, algorithm, doing).await {
            Ok(digests) => digests,
            Err(error) => return self.unreadable(error).await,
        };
        let inspector = Arc::clone(&self.inspector);
        let mut looks = digests
            .map(|digest| {
                let inspector = &inspector;
                async move {
                    let digest = digest?;
                    let path = ObjectPath::layer_link(repository, &digest);
                    inspector.link_to_blob(path, digest).await
                }
            })
            .buffer_unordered(AT_ONCE)
            .boxed();
        while let Some(look) = looks.next().await {
            self.checked.links += 1;
            self.handle(look).await?;
            self.report_repositories();
        }
        Ok(())
    }

    async fn tags(&mut self, repository: &RepositoryName) -> Result<(), CheckError> {
        let failed = Error::storage("list tags");
        let listing = match self
            .registry
            .driver
            .list(&PathPrefix::Tags(repository).key())
            .await
        {
            Ok(listing) => listing,
            Err(source) => return self.unreadable(failed(source)).await,
        };
        let inspector = Arc::clone(&self.inspector);
        let mut looks = listing
            .try_filter_map(async |entry| {
                Ok(Tag::parse(&entry.name)
                    .ok()
                    .filter(|_| entry.kind == EntryKind::Prefix))
            })
            .map(|tag| {
                let (inspector, failed) = (&inspector, &failed);
                async move { inspector.tag(repository, &tag.map_err(failed)?).await }
            })
            .buffer_unordered(AT_ONCE)
            .boxed();
        while let Some(look) = looks.next().await {
            let look = look.map(|(links, found)| {
                self.checked.links += links;
                found
            });
            self.handle(look).await?;
            self.report_repositories();
        }
        Ok(())
    }

    /// Checks our own index of a repository.
    async fn referrers(
        &mut self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<(), CheckError> {
        let area = PathPrefix::Subjects(repository, algorithm);
        let mut subjects = match self
            .registry
            .list_digests(&area, algorithm, "list subjects")
            .await
        {
            Ok(subjects) => subjects,
            Err(error) => return self.unreadable(error).await,
        };
        while let Some(subject) = subjects.next().await {
            let subject = match subject {
                Ok(subject) => subject,
                Err(error) => return self.unreadable(error).await,
            };
            let failed = Error::storage("list referrers");
            let area = PathPrefix::Subject(repository, &subject).key();
            let entries: Listing = match self.registry.driver.list(&area).await {
                Ok(entries) => entries,
                Err(source) => return self.unreadable(failed(source)).await,
            };
            let inspector = Arc::clone(&self.inspector);
            let mut looks = entries
                .try_filter_map(async |entry| Ok(layout::referrer_name(&entry.name)))
                .map(|referrer| {
                    let (inspector, failed, subject) = (&inspector, &failed, &subject);
                    async move {
                        inspector
                            .referrer(repository, subject, &referrer.map_err(failed)?)
                            .await
                    }
                })
                .buffer_unordered(MANIFESTS)
                .boxed();
            while let Some(look) = looks.next().await {
                self.handle(look).await?;
            }
        }
        Ok(())
    }
}

/// An entry in the history of a tag.
struct HistoryEntry {
    /// The manifest that its name says.
    digest: Digest,
    link: DatedLink,
}

impl Inspector<'_> {
    /// Checks the link of a repository to a blob, or an alias.
    pub(super) async fn link_to_blob(
        &self,
        link: ObjectPath,
        digest: Digest,
    ) -> Result<Vec<Diagnosis>, Error> {
        let Some(DatedLink {
            target,
            modified: seen,
        }) = self.registry.inspect_link(&link).await?
        else {
            return Ok(Vec::new());
        };
        let finding = match target {
            None => Finding::LinkEmpty { link: link.clone() },
            Some(holds) if self.payload_size(&holds).await?.is_none() => {
                // Somebody may have removed both in the meantime.
                if self.link_target(&link).await? != target {
                    return Ok(Vec::new());
                }
                Finding::LinkDangling {
                    link: link.clone(),
                    target: holds,
                }
            }
            Some(holds)
                if (holds.algorithm() == digest.algorithm() && holds != digest)
                    || !self.has_digest(&holds, &digest).await? =>
            {
                Finding::LinkWrong {
                    link: link.clone(),
                    holds,
                }
            }
            Some(_) => return Ok(Vec::new()),
        };
        Ok(vec![Diagnosis::at(finding, link, seen)])
    }

    /// Checks a tag, and counts its links.
    async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<(u64, Vec<Diagnosis>), Error> {
        let current = ObjectPath::tag_current(repository, tag);
        let now = self.registry.inspect_link(&current).await?;
        let history = self.history(repository, tag).await?;
        let links = history.len() as u64 + u64::from(now.is_some());
        let entry = |digest: &Digest| ObjectPath::tag_index(repository, tag, digest);
        let whole_tag = |finding| {
            // The history first: the link to what the tag means stays until the end. All objects are moved, because a
            // tag with a folder is listed.
            let prune_root = current.prune_root();
            let past = history
                .iter()
                .map(|past| (entry(&past.digest), past.link.modified));
            let all = past.chain(now.map(|link| (current.clone(), link.modified)));
            let moves = all.map(|(path, seen)| Move {
                path,
                seen,
                prune_root: prune_root.clone(),
            });
            Diagnosis::with(finding, moves.collect())
        };
        let means = now.and_then(|link| link.target);
        let Some(means) = means else {
            // A push writes the history of a tag before its link.
            if now.is_none() && self.link_target(&current).await?.is_some() {
                return Ok((links, Vec::new()));
            }
            let wholly = tag_unset(repository, tag, TagHistory::Lost);
            if links == 0 {
                let (prefix, prune_root) = (PathPrefix::Tag(repository, tag).key(), current.prune_root());
                return Ok((0, vec![Diagnosis::empty(wholly, prefix, prune_root)]));
            }
            // A tag without a link was never set, or was not wholly deleted. An empty link was left by a crash.
            for past in history.iter().filter(|_| now.is_some()) {
                if self.manifest_size(repository, &past.digest).await?.is_some() {
                    let finding = tag_unset(repository, tag, TagHistory::Recoverable);
                    return Ok((links, vec![Diagnosis::beyond_repair(finding)]));
                }
            }
            return Ok((links, vec![whole_tag(wholly)]));
        };
        if self.manifest_size(repository, &means).await?.is_none() {
            // A manifest is deleted after its tags, so the tag may be gone by now.
            if self.link_target(&current).await? != Some(means) {
                return Ok((links, Vec::new()));
            }
            let finding = Finding::TagDangling {
                repository: repository.clone(),
                tag: tag.clone(),
                digest: means,
            };
            return Ok((links, vec![whole_tag(finding)]));
        }
        // The manifests of the history may have been deleted long ago.
        let wrong = history.iter().filter_map(|past| {
            let link = entry(&past.digest);
            let finding = match past.link.target {
                None => Finding::LinkEmpty { link: link.clone() },
                Some(holds) if holds != past.digest => Finding::LinkWrong {
                    link: link.clone(),
                    holds,
                },
                Some(_) => return None,
            };
            Some(Diagnosis::at(finding, link, past.link.modified))
        });
        Ok((links, wrong.collect()))
    }

    /// The history of a tag.
    async fn history(&self, repository: &RepositoryName, tag: &Tag) -> Result<Vec<HistoryEntry>, Error> {
        let mut history = Vec::new();
        for algorithm in Algorithm::ALL {
            let area = PathPrefix::TagHistory(repository, tag, algorithm);
            let doing = "list the history of a tag";
            let digests = self.registry.list_digests(&area, algorithm, doing).await?;
            let mut entries = digests
                .map_ok(async |digest| {
                    let path = ObjectPath::tag_index(repository, tag, &digest);
                    let found = self.registry.inspect_link(&path).await?;
                    Ok(found.map(|link| HistoryEntry { digest, link }))
                })
                .try_buffer_unordered(4)
                .boxed();
            while let Some(entry) = entries.try_next().await? {
                history.extend(entry);
            }
        }
        Ok(history)
    }

    /// Checks an entry of the referrers index.
    async fn referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<Vec<Diagnosis>, Error> {
        // Readers do not believe the entry of a manifest that is gone.
        if self.manifest_size(repository, referrer).await?.is_none() {
            return Ok(Vec::new());
        }
        let entry = ObjectPath::referrer_entry(repository, subject, referrer);
        let seen = match self
            .registry
            .read_small(&entry.key(), MANIFEST_MAX as u64)
            .await?
        {
            SmallObject::Absent => return Ok(Vec::new()),
            SmallObject::Whole { bytes, modified } => match serde_json::from_slice::<Descriptor>(&bytes) {
                Ok(entry) if entry.digest == *referrer => return Ok(Vec::new()),
                Ok(_) | Err(_) => modified,
            },
            SmallObject::TooLarge { modified } => modified,
        };
        let finding = Finding::ReferrerUnreadable {
            repository: repository.clone(),
            subject: *subject,
            referrer: *referrer,
        };
        // The mark first: without it the next list reads the manifest and writes the entry again.
        let mark = self.mark(repository, referrer).await?;
        let moves = mark.into_iter().chain([Move::new(entry, seen)]);
        Ok(vec![Diagnosis::with(finding, moves.collect())])
    }

    /// The mark that a manifest was looked at for a subject.
    pub(super) async fn mark(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Move>, Error> {
        let mark = ObjectPath::referrer_known(repository, digest);
        let found = self
            .registry
            .driver
            .try_stat(&mark.key())
            .await
            .map_err(Error::storage("look at a mark"))?;
        Ok(found.map(|found| Move::new(mark, found.modified)))
    }
}

fn tag_unset(repository: &RepositoryName, tag: &Tag, history: TagHistory) -> Finding {
    Finding::TagUnset {
        repository: repository.clone(),
        tag: tag.clone(),
        history,
    }
}
