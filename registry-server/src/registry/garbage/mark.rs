//! Reads every repository, and records which content refers to which, which manifests are roots, and what may be
//! garbage.
//!
//! The key of a manifest is made of its repository and its canonical digest; the key of a payload of that digest alone.
//! A SHA-512 of either leads to the same key.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use registry_oci::{Algorithm, Digest, ManifestReferences, RepositoryName, Tag};

use super::blocking::blocking;
use super::error::GarbageError;
use super::reachability::Edges;
use super::report::{CollectionEvent, CollectionReport, Untagged};
use super::spill::{Key, Scratch, Spill};
use crate::registry::manifest_parser::STORED_MAX;
use crate::registry::{Error, Registry, offload};
use crate::storage::layout::{self, ObjectPath, PathPrefix};
use crate::storage::{self, EntryKind, OptionalExtension as _};

/// How many manifests are read at once.
const READS: usize = 8;

/// The records of marking.
pub(super) struct Marked {
    pub(super) edges: Edges,
    /// By manifest: the objects that are removed with it. The payload of a record is a storage key.
    pub(super) manifests: Spill,
    /// By payload: the links and aliases that lead to it. The payload of a record is a storage key and the digest to
    /// which it leads.
    pub(super) links: Spill,
    /// By manifest: manifests that cannot be read. The payload of a record is the repository and the digest.
    pub(super) unreadable: Spill,
    /// The key of no manifest: objects that are removed with it are always removed.
    no_manifest: Key,
}

impl Marked {
    async fn spilled(mut self) -> Result<Self, GarbageError> {
        let spills = |marked: &Self| {
            [
                marked.manifests.is_full(),
                marked.links.is_full(),
                marked.unreadable.is_full(),
            ]
        };
        if !self.edges.is_full() && !spills(&self).contains(&true) {
            return Ok(self);
        }
        blocking(move || {
            self.edges.spill_if_full()?;
            self.manifests.spill_if_full()?;
            self.links.spill_if_full()?;
            self.unreadable.spill_if_full()?;
            Ok(self)
        })
        .await
    }

    /// Records an object that is removed with a manifest.
    fn remove_with(&mut self, manifest: &Key, path: &ObjectPath) {
        self.manifests.push(manifest, path.key().as_str().as_bytes());
    }

    fn record_link(&mut self, path: &ObjectPath, canonical: &Digest) {
        let payload = format!("{}\n{canonical}", path.key());
        self.links.push(&blob_key(canonical), payload.as_bytes());
    }
}

/// The key of a payload.
pub(super) fn blob_key(canonical: &Digest) -> Key {
    let mut key = Key::default();
    // The first half of a SHA-512 is unique enough.
    let length = key.len();
    key.copy_from_slice(&canonical.hash()[..length]);
    key
}

/// The key of a manifest.
fn key_of_manifest(repository: &RepositoryName, canonical: &Digest) -> Key {
    blob_key(&Digest::sha256(format!("{repository}@{canonical}").as_bytes()))
}

/// The link of a manifest, and the manifest.
struct Revision {
    digest: Digest,
    canonical: Digest,
    written: SystemTime,
    document: RevisionContent,
}

/// The manifest that a tag means.
enum TagTarget {
    /// A manifest of its repository.
    Manifest(Digest),
    /// Its link was emptied by a crash of an old server. It may mean any manifest of its history.
    Unknown,
    /// It has no link, or a link to a manifest that the repository does not have.
    Nothing { has_link: bool },
}

enum RevisionContent {
    Read(ManifestReferences),
    Missing,
    Unreadable,
}

impl Registry {
    /// Records everything. With [`Untagged::Keep`] every manifest is a root.
    pub(super) async fn mark(
        &self,
        untagged: Untagged,
        limit: SystemTime,
        scratch: &Scratch,
        collected: &mut CollectionReport,
        watch: &mut (dyn FnMut(CollectionEvent<'_>) + Send),
    ) -> Result<Marked, GarbageError> {
        let mut marked = Marked {
            edges: Edges::new(scratch),
            manifests: scratch.new_spill("manifests"),
            links: scratch.new_spill("links"),
            unreadable: scratch.new_spill("unreadable"),
            no_manifest: blob_key(&Digest::sha256(uuid::Uuid::new_v4().as_bytes())),
        };
        let mut walk = self.walk(PathPrefix::Repositories).await?;
        while let Some(folder) = walk.next().await {
            let folder = folder?;
            if !folder.manifests && !folder.layers {
                continue;
            }
            // Its content cannot be pulled, but somebody may have set it aside to bring it back.
            let repository = folder
                .repository()
                .ok_or(GarbageError::RepositoryNameInvalid { name: folder.name })?;
            collected.repositories += 1;
            watch(CollectionEvent::Marking(collected));
            if untagged == Untagged::Delete {
                self.mark_tags(&repository, &mut marked).await?;
            }
            for algorithm in Algorithm::ALL {
                let prefix = PathPrefix::Revisions(&repository, algorithm);
                let mut revisions = self
                    .list_digests(&prefix, algorithm, "list manifests")
                    .await?
                    .map(async |digest| self.read_revision(&repository, digest?).await)
                    .buffer_unordered(READS)
                    .boxed();
                while let Some(revision) = revisions.try_next().await? {
                    if let Some(revision) = revision {
                        self.mark_revision(&repository, &revision, untagged, limit, &mut marked)
                            .await?;
                        match revision.document {
                            RevisionContent::Missing => collected.missing += 1,
                            RevisionContent::Read(_) | RevisionContent::Unreadable => {}
                        }
                        collected.manifests += 1;
                        watch(CollectionEvent::Marking(collected));
                        marked = marked.spilled().await?;
                    }
                }
                let prefix = PathPrefix::LayersOf(&repository, algorithm);
                let mut layers = self
                    .list_digests(&prefix, algorithm, "list the blobs of a repository")
                    .await?;
                while let Some(digest) = layers.try_next().await? {
                    let mut canonical = digest;
                    let path = ObjectPath::layer_link(&repository, &digest);
                    if algorithm != Algorithm::Sha256 {
                        canonical = self.read_link(&path).await?.unwrap_or(digest);
                    }
                    marked.record_link(&path, &canonical);
                    marked = marked.spilled().await?;
                }
            }
        }
        let marked = self.mark_index(marked).await?;
        self.mark_aliases(marked).await
    }

    /// Makes the manifests of tags roots. The history of a tag is removed with the manifests that it names, and a tag
    /// without a meaning is removed itself.
    async fn mark_tags(&self, repository: &RepositoryName, marked: &mut Marked) -> Result<(), GarbageError> {
        let failed = Error::storage("list tags");
        let prefix = PathPrefix::Tags(repository).key();
        let tags = self.driver.list(&prefix).await.map_err(&failed)?;
        let mut tags = tags
            .try_filter_map(async |entry| {
                let tag = Tag::parse(&entry.name).ok();
                Ok(tag.filter(|_| entry.kind == EntryKind::Prefix))
            })
            .map_err(&failed)
            .map(async |tag| {
                let tag = tag?;
                let tag_meaning = self.tag_meaning(repository, &tag).await?;
                Ok::<_, Error>((tag, tag_meaning))
            })
            .buffer_unordered(READS)
            .boxed();
        while let Some((tag, tag_meaning)) = tags.try_next().await? {
            if let TagTarget::Manifest(digest) = &tag_meaning {
                marked
                    .edges
                    .add_root(&self.manifest_key(repository, digest).await?);
            }
            for algorithm in Algorithm::ALL {
                let prefix = PathPrefix::TagHistory(repository, &tag, algorithm);
                let mut history = self
                    .list_digests(&prefix, algorithm, "list the history of a tag")
                    .await?;
                while let Some(digest) = history.try_next().await? {
                    let manifest = self.manifest_key(repository, &digest).await?;
                    if let TagTarget::Unknown = tag_meaning {
                        marked.edges.add_root(&manifest);
                    }
                    let key = match tag_meaning {
                        TagTarget::Nothing { .. } => marked.no_manifest,
                        TagTarget::Manifest(_) | TagTarget::Unknown => manifest,
                    };
                    marked.remove_with(&key, &ObjectPath::tag_index(repository, &tag, &digest));
                }
            }
            if let TagTarget::Nothing { has_link: true } = tag_meaning {
                marked.remove_with(
                    &marked.no_manifest.clone(),
                    &ObjectPath::tag_current(repository, &tag),
                );
            }
        }
        Ok(())
    }

    /// Reads the manifest that a tag means.
    async fn tag_meaning(&self, repository: &RepositoryName, tag: &Tag) -> Result<TagTarget, Error> {
        let Some(digest) = self.tag_target(repository, tag).await? else {
            return Ok(match self.has_tag_link(repository, tag).await? {
                true => TagTarget::Unknown,
                false => TagTarget::Nothing { has_link: false },
            });
        };
        if self.manifest_link_target(repository, &digest).await?.is_some() {
            return Ok(TagTarget::Manifest(digest));
        }
        // Somebody may have set the tag to another manifest, and deleted the one that it meant.
        Ok(match self.tag_target(repository, tag).await? {
            Some(now) if now == digest => TagTarget::Nothing { has_link: true },
            Some(now) => TagTarget::Manifest(now),
            None => TagTarget::Nothing { has_link: false },
        })
    }

    /// Reads a manifest to which a repository has a link; nothing when the folder of the link holds no link.
    async fn read_revision(
        &self,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Result<Option<Revision>, Error> {
        let path = ObjectPath::revision_link(repository, &digest);
        let Some(link) = self.read_dated_link(&path).await? else {
            return Ok(None);
        };
        let found = self.driver.stat_touched(&path.key()).await.optional();
        let Some(found) = found.map_err(Error::storage("look at a link"))? else {
            return Ok(None);
        };
        let written = link.modified.max(found.modified);
        // A link that holds nothing makes its manifest unknown, but not garbage: its name says where it led.
        let canonical = link.target.unwrap_or(digest);
        let key = ObjectPath::blob_data(&canonical).key();
        let document = match self.driver.get(&key, STORED_MAX).await {
            Ok(bytes) => parse_references(&canonical, bytes).await?,
            Err(storage::Error::NotFound { .. }) => RevisionContent::Missing,
            Err(storage::Error::TooLarge { .. }) => RevisionContent::Unreadable,
            Err(source) => return Err(Error::storage("read a manifest")(source)),
        };
        Ok(Some(Revision {
            digest,
            canonical,
            written,
            document,
        }))
    }

    async fn mark_revision(
        &self,
        repository: &RepositoryName,
        revision: &Revision,
        untagged: Untagged,
        limit: SystemTime,
        marked: &mut Marked,
    ) -> Result<(), GarbageError> {
        let Revision {
            digest,
            canonical,
            written,
            document,
        } = revision;
        let key = key_of_manifest(repository, canonical);
        if untagged == Untagged::Keep || *written > limit {
            marked.edges.add_root(&key);
        }
        marked.edges.add_reference(&key, &blob_key(canonical));
        let path = ObjectPath::revision_link(repository, digest);
        marked.remove_with(&key, &path);
        match document {
            RevisionContent::Read(ManifestReferences { content, subjects }) => {
                for digest in content {
                    // The document does not tell whether this digest is that of a manifest or of a blob.
                    marked.edges.add_reference(&key, &blob_key(digest));
                    marked
                        .edges
                        .add_reference(&key, &self.manifest_key(repository, digest).await?);
                    if digest.algorithm() != Algorithm::Sha256 {
                        for canonical in self.stored_under(repository, digest).await? {
                            marked.edges.add_reference(&key, &blob_key(&canonical));
                        }
                    }
                }
                for subject in subjects {
                    let subject = self.manifest_key(repository, subject).await?;
                    marked.edges.add_reference(&subject, &key);
                }
            }
            RevisionContent::Missing => {
                tracing::warn!(%repository, %digest, "the payload of a manifest is missing");
            }
            RevisionContent::Unreadable => {
                marked
                    .unreadable
                    .push(&key, format!("{repository}\n{digest}").as_bytes());
            }
        }
        Ok(())
    }

    /// The key of a manifest by any of its digests.
    async fn manifest_key(&self, repository: &RepositoryName, digest: &Digest) -> Result<Key, Error> {
        let canonical = match digest.algorithm() {
            Algorithm::Sha256 => None,
            Algorithm::Sha512 => self.manifest_link_target(repository, digest).await?,
        };
        Ok(key_of_manifest(repository, &canonical.unwrap_or(*digest)))
    }

    /// The canonical digests of content that may be stored under another digest than this one.
    async fn stored_under(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Digest>, Error> {
        let mut found = Vec::new();
        for path in [
            ObjectPath::layer_link(repository, digest),
            ObjectPath::blob_alias(digest),
        ] {
            found.extend(self.read_link(&path).await?);
        }
        Ok(found)
    }

    /// Our own index is removed with its manifests. It may name repositories that are gone.
    async fn mark_index(&self, mut marked: Marked) -> Result<Marked, GarbageError> {
        let mut walk = self.walk(PathPrefix::IndexedRepositories).await?;
        while let Some(folder) = walk.next().await {
            let folder = folder?;
            let Some(repository) = folder.repository() else {
                continue;
            };
            if folder.last_deletion {
                // It belongs to no manifest: it is removed once it is old enough.
                marked.remove_with(&Key::default(), &ObjectPath::last_deletion(&repository));
            }
            if !folder.referrers {
                continue;
            }
            for algorithm in Algorithm::ALL {
                let prefix = PathPrefix::ReferrersKnown(&repository, algorithm);
                let mut known = self
                    .list_digests(&prefix, algorithm, "list known manifests")
                    .await?;
                while let Some(digest) = known.try_next().await? {
                    let key = self.manifest_key(&repository, &digest).await?;
                    marked.remove_with(&key, &ObjectPath::referrer_known(&repository, &digest));
                    marked = marked.spilled().await?;
                }
                let prefix = PathPrefix::Subjects(&repository, algorithm);
                let mut subjects = self.list_digests(&prefix, algorithm, "list subjects").await?;
                while let Some(subject) = subjects.try_next().await? {
                    let failed = Error::storage("list referrers");
                    let prefix = PathPrefix::Subject(&repository, &subject).key();
                    let mut entries = self.driver.list(&prefix).await.map_err(&failed)?;
                    while let Some(entry) = entries.try_next().await.map_err(&failed)? {
                        let Some(referrer) = layout::referrer_name(&entry.name) else {
                            continue;
                        };
                        let key = self.manifest_key(&repository, &referrer).await?;
                        let path = ObjectPath::referrer_entry(&repository, &subject, &referrer);
                        marked.remove_with(&key, &path);
                        marked = marked.spilled().await?;
                    }
                }
            }
        }
        Ok(marked)
    }

    async fn mark_aliases(&self, mut marked: Marked) -> Result<Marked, GarbageError> {
        for algorithm in Algorithm::ALL {
            for start in self.first_bytes(&PathPrefix::BlobAliasStarts(algorithm)).await? {
                let prefix = PathPrefix::BlobAliases(algorithm, start);
                let mut aliases = self
                    .list_digests(&prefix, algorithm, "list other digests")
                    .await?;
                while let Some(digest) = aliases.try_next().await? {
                    let path = ObjectPath::blob_alias(&digest);
                    // An alias that holds nothing leads nowhere.
                    let canonical = self.read_link(&path).await?.unwrap_or(digest);
                    marked.record_link(&path, &canonical);
                    marked = marked.spilled().await?;
                }
            }
        }
        Ok(marked)
    }
}

/// Parses a manifest. Hashing and parsing four megabytes takes a while, so another thread does it.
async fn parse_references(canonical: &Digest, bytes: Bytes) -> Result<RevisionContent, Error> {
    let canonical = *canonical;
    offload::blocking(move || {
        if Digest::of(canonical.algorithm(), &bytes) != canonical {
            return RevisionContent::Unreadable;
        }
        ManifestReferences::read(&bytes).map_or(RevisionContent::Unreadable, RevisionContent::Read)
    })
    .await
}
