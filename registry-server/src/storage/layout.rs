//! The layout of a store, on a disk or in a bucket. No other file knows a path.
//!
//! Guarantees: every key is built from parsed types, so that no input leaves the root. [`ObjectPath::parse`] is the inverse of
//! [`ObjectPath::key`]. The tree is that of distribution 2 and 3, so that each server can continue on the store of the other.
//! Berth's own objects are below `docker/registry/berth`, which distribution never reads.
//! Must not: touch storage, know HTTP. No other file may spell a folder name of the layout.
//! Start at [`ObjectPath`]; its documentation draws the tree.

mod paths;

use registry_oci::{Algorithm, Digest, RepositoryName, Tag, UploadId};
use uuid::Uuid;

use super::{Entry, EntryKind, StorageKey};

const TOP: &str = "docker/registry";
const ROOT: &str = "docker/registry/v2";
const OURS: &str = "docker/registry/berth/v1";
const LAYERS: &str = "_layers";
const MANIFESTS: &str = "_manifests";
const UPLOADS: &str = "_uploads";
const REFERRERS: &str = "_referrers";
const REVISIONS: &str = "_revisions";
const DELETED: &str = "_deleted";
const WRITERS: &str = "writers";
const PROBES: &str = "probes";
const OWNER: &str = "owner";
const TRASH: &str = "trash";
const TRASHED: &str = "objects";
const JOURNAL: &str = "journal";
const INCOMING: &str = "incoming";
const PARTS: &str = "parts";
const DATA: &str = "data";
const SESSION: &str = "session";
const LINK: &str = "link";

/// The path of an object, for every kind of object that a registry keeps.
///
/// ```text
/// docker/registry/v2/
///   blobs/<alg>/<first two hex>/<hex>/data                              BlobData
///   repositories/<name>/
///     _layers/<alg>/<hex>/link                                          LayerLink
///     _manifests/revisions/sha256/<hex>/link                            RevisionLink
///     _manifests/tags/<tag>/current/link                                TagCurrent
///     _manifests/tags/<tag>/index/<alg>/<hex>/link                      TagIndex
///     _uploads/<id>/data                                                UploadData
///     _uploads/<id>/startedat                                           UploadStartedAt
///     _uploads/<id>/hashstates/<alg>/<offset>                           UploadHashState
///     _uploads/<id>/session                                             UploadSession, in object stores
/// docker/registry/berth/v1/
///   blobs/<alg>/<first two hex>/<hex>                                   BlobAlias
///   repositories/<name>/
///     _revisions/<alg>/<hex>/link                                       RevisionLink, of another algorithm
///     _referrers/subjects/<alg>/<hex>/<alg>-<hex>                       ReferrerEntry
///     _referrers/known/<alg>/<hex>                                      ReferrerKnown
///     _deleted                                                          LastDeletion
///   owner                                                               Owner
///   writers/<uuid>                                                      Writer
///   probes/<uuid>                                                       Probe
///   trash/<uuid>/objects/<key below docker/registry>                    Trashed
///   trash/<uuid>/journal/<number>                                       TrashJournal
///   incoming/<uuid>                                                     Incoming
///   parts/<key>/<upload>/<part>                                         of a driver: parts of the object at the key
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectPath {
    /// The payload of a blob; manifests are blobs too.
    BlobData {
        /// The digest of the payload.
        digest: Digest,
    },
    /// The link that gives a repository a blob. Holds the digest under which the payload is stored.
    LayerLink {
        /// The repository.
        repository: RepositoryName,
        /// The digest by which clients ask for the blob.
        digest: Digest,
    },
    /// The link that gives a repository a manifest. Holds the digest under which the payload is stored.
    ///
    /// A link that is not SHA-256 is in Berth's own tree, in addition to a SHA-256 link of the same manifest. In its own tree
    /// distribution's `garbage-collect -m` would find the manifest twice, delete it, and stop at the second link.
    RevisionLink {
        /// The repository.
        repository: RepositoryName,
        /// The digest by which clients ask for the manifest.
        digest: Digest,
    },
    /// The manifest that a tag leads to now. Holds its digest.
    TagCurrent {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
    },
    /// A manifest that a tag leads to, or led to once. Holds its digest.
    TagIndex {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
        /// The digest of the manifest.
        digest: Digest,
    },
    /// The bytes that an upload session has received.
    UploadData {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
    },
    /// The time when an upload session began. Holds an RFC 3339 time.
    UploadStartedAt {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
    },
    /// The state of the hash over the first `offset` bytes of an upload session.
    UploadHashState {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
        /// The number of bytes that the state covers.
        offset: u64,
    },
    /// The progress of an upload session whose data is stored in parts, with the bytes that do not fill a part yet.
    UploadSession {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
    },
    /// A manifest that refers to a subject. Holds its descriptor as JSON.
    ReferrerEntry {
        /// The repository.
        repository: RepositoryName,
        /// The subject.
        subject: Digest,
        /// The manifest that refers to it.
        referrer: Digest,
    },
    /// Another digest of a payload. Holds the digest under which the payload is stored.
    BlobAlias {
        /// The other digest.
        digest: Digest,
    },
    /// Says that a manifest is indexed: its subject, if it has one, is known.
    ReferrerKnown {
        /// The repository.
        repository: RepositoryName,
        /// The manifest.
        digest: Digest,
    },
    /// The time of the last deletion in a repository is the time of this object. Holds nothing.
    LastDeletion {
        /// The repository.
        repository: RepositoryName,
    },
    /// The owner of the store, as JSON.
    Owner,
    /// The heartbeat of a server that writes to this store. Holds its identity as JSON.
    Writer {
        /// The server's run.
        id: Uuid,
    },
    /// An object that is written and removed again, to learn the store's time.
    Probe {
        /// The run of the probe.
        id: Uuid,
    },
    /// An object that a repair moved to the trash, unchanged.
    Trashed {
        /// The repair.
        run: Uuid,
        /// Its path before.
        was: Box<ObjectPath>,
    },
    /// A move of a repair, written before the move. Holds a line of JSON.
    TrashJournal {
        /// The repair.
        run: Uuid,
        /// The number of the move.
        number: u64,
    },
    /// The bytes of an object that is being written, before it has its name.
    Incoming {
        /// The write.
        id: Uuid,
    },
}

impl ObjectPath {
    /// The key of the object.
    pub fn key(&self) -> StorageKey {
        StorageKey::from_parts(match self {
            Self::BlobData { digest } => {
                let hex = digest.hex();
                format!("{ROOT}/blobs/{}/{}/{hex}/{DATA}", digest.algorithm(), &hex[..2])
            }
            Self::LayerLink { repository, digest } => {
                format!("{}/{LAYERS}/{}/{LINK}", home(repository), digest_path(digest))
            }
            Self::RevisionLink { repository, digest } => {
                let home = revisions(repository, digest.algorithm());
                format!("{home}/{}/{LINK}", digest.hex())
            }
            Self::TagCurrent { repository, tag } => {
                format!("{}/{MANIFESTS}/tags/{tag}/current/{LINK}", home(repository))
            }
            Self::TagIndex {
                repository,
                tag,
                digest,
            } => {
                format!(
                    "{}/{MANIFESTS}/tags/{tag}/index/{}/{LINK}",
                    home(repository),
                    digest_path(digest)
                )
            }
            Self::UploadData { repository, id } => format!("{}/{UPLOADS}/{id}/{DATA}", home(repository)),
            Self::UploadStartedAt { repository, id } => {
                format!("{}/{UPLOADS}/{id}/startedat", home(repository))
            }
            Self::UploadHashState {
                repository,
                id,
                offset,
            } => {
                format!("{}/{UPLOADS}/{id}/hashstates/sha256/{offset}", home(repository))
            }
            Self::UploadSession { repository, id } => {
                format!("{}/{UPLOADS}/{id}/{SESSION}", home(repository))
            }
            Self::ReferrerEntry {
                repository,
                subject,
                referrer,
            } => {
                let (algorithm, hex) = (referrer.algorithm(), referrer.hex());
                format!(
                    "{}/subjects/{}/{algorithm}-{hex}",
                    index_home(repository),
                    digest_path(subject)
                )
            }
            Self::BlobAlias { digest } => {
                let hex = digest.hex();
                format!("{OURS}/blobs/{}/{}/{hex}", digest.algorithm(), &hex[..2])
            }
            Self::ReferrerKnown { repository, digest } => {
                format!("{}/known/{}", index_home(repository), digest_path(digest))
            }
            Self::LastDeletion { repository } => format!("{OURS}/repositories/{repository}/{DELETED}"),
            Self::Owner => format!("{OURS}/{OWNER}"),
            Self::Writer { id } => format!("{OURS}/{WRITERS}/{id}"),
            Self::Probe { id } => format!("{OURS}/{PROBES}/{id}"),
            Self::Trashed { run, was } => {
                let key = was.key();
                let below = key.as_str().strip_prefix(TOP).unwrap_or_default();
                format!("{OURS}/{TRASH}/{run}/{TRASHED}{below}")
            }
            Self::TrashJournal { run, number } => format!("{OURS}/{TRASH}/{run}/{JOURNAL}/{number:08}"),
            Self::Incoming { id } => format!("{OURS}/{INCOMING}/{id}"),
        })
    }

    /// The prefix at which pruning stops. When the object is removed, empty prefixes below this one may be removed too. It
    /// never allows the removal of the folder that makes a directory a repository.
    pub fn prune_root(&self) -> StorageKey {
        StorageKey::from_parts(match self {
            Self::BlobData { .. } => format!("{ROOT}/blobs"),
            Self::LayerLink { repository, .. } => format!("{}/{LAYERS}", home(repository)),
            Self::RevisionLink { repository, digest } => match digest.algorithm() {
                Algorithm::Sha256 => format!("{}/{MANIFESTS}/revisions", home(repository)),
                Algorithm::Sha512 => OURS.to_owned(),
            },
            Self::TagCurrent { repository, .. } => format!("{}/{MANIFESTS}/tags", home(repository)),
            Self::TagIndex { repository, tag, .. } => format!("{}/{MANIFESTS}/tags/{tag}", home(repository)),
            Self::UploadData { repository, .. }
            | Self::UploadStartedAt { repository, .. }
            | Self::UploadHashState { repository, .. }
            | Self::UploadSession { repository, .. } => format!("{}/{UPLOADS}", home(repository)),
            Self::ReferrerEntry { .. }
            | Self::ReferrerKnown { .. }
            | Self::BlobAlias { .. }
            | Self::LastDeletion { .. }
            | Self::Owner
            | Self::Writer { .. }
            | Self::Trashed { .. }
            | Self::TrashJournal { .. }
            | Self::Incoming { .. } => OURS.to_owned(),
            // A program that only probes may run as another user, whose folders the server could not write into.
            Self::Probe { .. } => TOP.to_owned(),
        })
    }

    /// The repository of the object; `None` for payloads and for objects of the whole store.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::LayerLink { repository, .. }
            | Self::RevisionLink { repository, .. }
            | Self::TagCurrent { repository, .. }
            | Self::TagIndex { repository, .. }
            | Self::UploadData { repository, .. }
            | Self::UploadStartedAt { repository, .. }
            | Self::UploadHashState { repository, .. }
            | Self::UploadSession { repository, .. }
            | Self::ReferrerEntry { repository, .. }
            | Self::ReferrerKnown { repository, .. }
            | Self::LastDeletion { repository } => Some(repository),
            Self::BlobData { .. }
            | Self::BlobAlias { .. }
            | Self::Owner
            | Self::Writer { .. }
            | Self::Probe { .. }
            | Self::Trashed { .. }
            | Self::TrashJournal { .. }
            | Self::Incoming { .. } => None,
        }
    }

    /// The path for a key; `None` for a key that no registry writes.
    pub fn parse(key: &StorageKey) -> Option<Self> {
        let text = key.as_str();
        if let Some(rest) = text.strip_prefix(OURS) {
            if let Some(rest) = rest.strip_prefix("/blobs/") {
                return match rest.split('/').collect::<Vec<_>>().as_slice() {
                    [algorithm, start, hex] if hex.starts_with(start) && start.len() == 2 => {
                        Some(Self::BlobAlias {
                            digest: digest(algorithm, hex)?,
                        })
                    }
                    _ => None,
                };
            }
            match rest.split('/').collect::<Vec<_>>().as_slice() {
                ["", OWNER] => return Some(Self::Owner),
                ["", WRITERS, id] => return Some(Self::Writer { id: run(id)? }),
                ["", PROBES, id] => return Some(Self::Probe { id: run(id)? }),
                ["", INCOMING, id] => return Some(Self::Incoming { id: run(id)? }),
                ["", TRASH, id, JOURNAL, name] => {
                    let (run, number) = (run(id)?, journal_number(name)?);
                    return Some(Self::TrashJournal { run, number });
                }
                ["", TRASH, id, TRASHED, below @ ..] => {
                    let was = StorageKey::parse(&format!("{TOP}/{}", below.join("/"))).ok()?;
                    let was = Box::new(Self::parse(&was)?);
                    return Some(Self::Trashed { run: run(id)?, was });
                }
                _ => {}
            }
            let (repository, rest) = split_repository(rest)?;
            return match rest.as_slice() {
                [REFERRERS, "subjects", algorithm, hex, name] => Some(Self::ReferrerEntry {
                    repository,
                    subject: digest(algorithm, hex)?,
                    referrer: referrer_name(name)?,
                }),
                [REVISIONS, algorithm @ "sha512", hex, LINK] => Some(Self::RevisionLink {
                    repository,
                    digest: digest(algorithm, hex)?,
                }),
                [REFERRERS, "known", algorithm, hex] => Some(Self::ReferrerKnown {
                    repository,
                    digest: digest(algorithm, hex)?,
                }),
                [DELETED] => Some(Self::LastDeletion { repository }),
                _ => None,
            };
        }
        let rest = text.strip_prefix(ROOT)?;
        if let Some(rest) = rest.strip_prefix("/blobs/") {
            return match rest.split('/').collect::<Vec<_>>().as_slice() {
                [algorithm, start, hex, DATA] if hex.starts_with(start) && start.len() == 2 => {
                    Some(Self::BlobData {
                        digest: digest(algorithm, hex)?,
                    })
                }
                _ => None,
            };
        }
        let (repository, rest) = split_repository(rest)?;
        Some(match rest.as_slice() {
            [LAYERS, algorithm, hex, LINK] => Self::LayerLink {
                repository,
                digest: digest(algorithm, hex)?,
            },
            [MANIFESTS, "revisions", algorithm @ "sha256", hex, LINK] => Self::RevisionLink {
                repository,
                digest: digest(algorithm, hex)?,
            },
            [MANIFESTS, "tags", tag, "current", LINK] => Self::TagCurrent {
                repository,
                tag: Tag::parse(tag).ok()?,
            },
            [MANIFESTS, "tags", tag, "index", algorithm, hex, LINK] => Self::TagIndex {
                repository,
                tag: Tag::parse(tag).ok()?,
                digest: digest(algorithm, hex)?,
            },
            [UPLOADS, id, DATA] => Self::UploadData {
                repository,
                id: UploadId::parse(id).ok()?,
            },
            [UPLOADS, id, "startedat"] => Self::UploadStartedAt {
                repository,
                id: UploadId::parse(id).ok()?,
            },
            [UPLOADS, id, SESSION] => Self::UploadSession {
                repository,
                id: UploadId::parse(id).ok()?,
            },
            [UPLOADS, id, "hashstates", "sha256", offset] => Self::UploadHashState {
                repository,
                id: UploadId::parse(id).ok()?,
                offset: hash_state_offset(offset)?,
            },
            _ => return None,
        })
    }
}

/// A prefix below which objects are listed or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPrefix<'a> {
    /// All repositories.
    Repositories,
    /// One repository, with those below it.
    Repository(&'a RepositoryName),
    /// The blobs of a repository; lists algorithms.
    Layers(&'a RepositoryName),
    /// The tags and manifests of a repository.
    Manifests(&'a RepositoryName),
    /// The manifests of a repository under one algorithm; [`listed_digest`] reads the names.
    Revisions(&'a RepositoryName, Algorithm),
    /// One manifest.
    Revision(&'a RepositoryName, &'a Digest),
    /// One blob in a repository.
    Layer(&'a RepositoryName, &'a Digest),
    /// The tags of a repository.
    Tags(&'a RepositoryName),
    /// One tag with its history.
    Tag(&'a RepositoryName, &'a Tag),
    /// The upload sessions of a repository.
    Uploads(&'a RepositoryName),
    /// One upload session.
    Upload(&'a RepositoryName, &'a UploadId),
    /// The hash states of an upload session; [`hash_state_offset`] reads the names.
    UploadHashStates(&'a RepositoryName, &'a UploadId),
    /// The manifests that refer to a subject; [`referrer_name`] reads the names.
    Subject(&'a RepositoryName, &'a Digest),
    /// The manifests that are indexed; [`listed_digest`] reads the names.
    ReferrersKnown(&'a RepositoryName, Algorithm),
    /// The blobs of a repository under one algorithm; [`listed_digest`] reads the names.
    LayersOf(&'a RepositoryName, Algorithm),
    /// The history of a tag under one algorithm; [`listed_digest`] reads the names.
    TagHistory(&'a RepositoryName, &'a Tag, Algorithm),
    /// The payloads of one algorithm; [`listed_start`] reads the names.
    BlobStarts(Algorithm),
    /// The other digests of one algorithm; [`listed_start`] reads the names.
    BlobAliasStarts(Algorithm),
    /// The payloads whose digest begins with this byte; [`listed_digest`] reads the names.
    Blobs(Algorithm, u8),
    /// The other digests that begin with this byte; [`listed_digest`] reads the names.
    BlobAliases(Algorithm, u8),
    /// The repositories in Berth's own index, as [`PathPrefix::Repositories`].
    IndexedRepositories,
    /// The subjects of one algorithm that have referrers; [`listed_digest`] reads the names.
    Subjects(&'a RepositoryName, Algorithm),
    /// The servers that write to this store; [`run`] reads the names.
    Writers,
    /// The probes of the store's time; [`run`] reads the names.
    Probes,
    /// The repairs that moved objects; [`run`] reads the names.
    Trash,
    /// One repair, with what it moved.
    TrashOf(Uuid),
    /// The moves of one repair; [`journal_number`] reads the names.
    TrashJournal(Uuid),
    /// Objects that are being written; [`run`] reads the names.
    Incoming,
    /// Parts of uploads, in stores without multipart uploads. Only the driver knows the names below.
    Parts,
    /// Berth's own index of a repository.
    Referrers(&'a RepositoryName),
}

impl PathPrefix<'_> {
    /// The key with which all keys below the prefix begin.
    pub fn key(&self) -> StorageKey {
        StorageKey::from_parts(match self {
            Self::Repositories => format!("{ROOT}/repositories"),
            Self::Repository(repository) => home(repository),
            Self::Layers(repository) => format!("{}/{LAYERS}", home(repository)),
            Self::Manifests(repository) => format!("{}/{MANIFESTS}", home(repository)),
            Self::Revisions(repository, algorithm) => revisions(repository, *algorithm),
            Self::Revision(repository, digest) => {
                format!("{}/{}", revisions(repository, digest.algorithm()), digest.hex())
            }
            Self::Layer(repository, digest) => {
                format!("{}/{LAYERS}/{}", home(repository), digest_path(digest))
            }
            Self::Tags(repository) => format!("{}/{MANIFESTS}/tags", home(repository)),
            Self::Tag(repository, tag) => format!("{}/{MANIFESTS}/tags/{tag}", home(repository)),
            Self::Uploads(repository) => format!("{}/{UPLOADS}", home(repository)),
            Self::Upload(repository, id) => format!("{}/{UPLOADS}/{id}", home(repository)),
            Self::UploadHashStates(repository, id) => {
                format!("{}/{UPLOADS}/{id}/hashstates/sha256", home(repository))
            }
            Self::Subject(repository, subject) => {
                format!("{}/subjects/{}", index_home(repository), digest_path(subject))
            }
            Self::ReferrersKnown(repository, algorithm) => {
                format!("{}/known/{algorithm}", index_home(repository))
            }
            Self::LayersOf(repository, algorithm) => format!("{}/{LAYERS}/{algorithm}", home(repository)),
            Self::TagHistory(repository, tag, algorithm) => {
                format!("{}/{MANIFESTS}/tags/{tag}/index/{algorithm}", home(repository))
            }
            Self::BlobStarts(algorithm) => format!("{ROOT}/blobs/{algorithm}"),
            Self::BlobAliasStarts(algorithm) => format!("{OURS}/blobs/{algorithm}"),
            Self::Blobs(algorithm, start) => format!("{ROOT}/blobs/{algorithm}/{start:02x}"),
            Self::BlobAliases(algorithm, start) => format!("{OURS}/blobs/{algorithm}/{start:02x}"),
            Self::IndexedRepositories => format!("{OURS}/repositories"),
            Self::Subjects(repository, algorithm) => {
                format!("{}/subjects/{algorithm}", index_home(repository))
            }
            Self::Writers => format!("{OURS}/{WRITERS}"),
            Self::Probes => format!("{OURS}/{PROBES}"),
            Self::Trash => format!("{OURS}/{TRASH}"),
            Self::TrashOf(run) => format!("{OURS}/{TRASH}/{run}"),
            Self::TrashJournal(run) => format!("{OURS}/{TRASH}/{run}/{JOURNAL}"),
            Self::Incoming => format!("{OURS}/{INCOMING}"),
            Self::Parts => format!("{OURS}/{PARTS}"),
            Self::Referrers(repository) => index_home(repository),
        })
    }
}

/// The meaning of an entry where repositories are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryEntry {
    /// A further component of names.
    Component,
    /// The folder of manifests, which makes a directory a repository, as in distribution 3.
    Manifests,
    /// The folder of a repository's blobs.
    Layers,
    /// The folder of a repository's upload sessions.
    Uploads,
    /// The folder of a repository in Berth's own index.
    Referrers,
    /// The object whose time is that of the last deletion.
    LastDeletion,
    /// Another folder of a repository, or an entry that no registry makes.
    Other,
}

/// The meaning of an entry below [`PathPrefix::Repositories`] or [`PathPrefix::Repository`].
pub fn repository_entry(entry: &Entry) -> RepositoryEntry {
    match (entry.kind, entry.name.as_str()) {
        (EntryKind::Prefix, MANIFESTS) => RepositoryEntry::Manifests,
        (EntryKind::Prefix, LAYERS) => RepositoryEntry::Layers,
        (EntryKind::Prefix, UPLOADS) => RepositoryEntry::Uploads,
        (EntryKind::Prefix, REFERRERS) => RepositoryEntry::Referrers,
        (EntryKind::Object, DELETED) => RepositoryEntry::LastDeletion,
        (EntryKind::Prefix, name) if !name.starts_with('_') => RepositoryEntry::Component,
        (EntryKind::Prefix | EntryKind::Object, _) => RepositoryEntry::Other,
    }
}

/// The digest of a name in a listing by algorithm.
pub fn listed_digest(algorithm: Algorithm, name: &str) -> Option<Digest> {
    digest(algorithm.name(), name)
}

/// The first byte of the digests, from a name in a listing of payloads.
pub fn listed_start(name: &str) -> Option<u8> {
    // Only the canonical spelling, so that the same key is built from it.
    u8::from_str_radix(name, 16)
        .ok()
        .filter(|start| format!("{start:02x}") == name)
}

/// The number of a move in a repair's journal, from its name.
pub fn journal_number(name: &str) -> Option<u64> {
    // Only the canonical spelling, so that the same key is built from it.
    name.parse()
        .ok()
        .filter(|number: &u64| format!("{number:08}") == name)
}

/// The run of a server, of a probe or of a repair, from its name.
pub fn run(name: &str) -> Option<Uuid> {
    // Only the canonical spelling, so that the same key is built from it.
    Uuid::try_parse(name).ok().filter(|id| id.to_string() == name)
}

/// The number of bytes a hash state covers, from its name.
pub fn hash_state_offset(name: &str) -> Option<u64> {
    // Only the canonical spelling, so that the same key is built from it.
    name.parse()
        .ok()
        .filter(|offset: &u64| offset.to_string() == name)
}

/// The manifest of an entry below [`PathPrefix::Subject`].
pub fn referrer_name(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('-')?;
    digest(algorithm, hex)
}

fn home(repository: &RepositoryName) -> String {
    format!("{ROOT}/repositories/{repository}")
}

fn index_home(repository: &RepositoryName) -> String {
    format!("{OURS}/repositories/{repository}/{REFERRERS}")
}

fn revisions(repository: &RepositoryName, algorithm: Algorithm) -> String {
    match algorithm {
        Algorithm::Sha256 => format!("{}/{MANIFESTS}/revisions/{algorithm}", home(repository)),
        Algorithm::Sha512 => format!("{OURS}/repositories/{repository}/{REVISIONS}/{algorithm}"),
    }
}

fn digest_path(digest: &Digest) -> String {
    format!("{}/{}", digest.algorithm(), digest.hex())
}

fn digest(algorithm: &str, hex: &str) -> Option<Digest> {
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

/// Splits `/repositories/<name>/_rest`. A component that begins with `_` ends the name, since no name has such a one.
fn split_repository(text: &str) -> Option<(RepositoryName, Vec<&str>)> {
    let text = text.strip_prefix("/repositories/")?;
    let at = text.find("/_")?;
    let repository = RepositoryName::parse(&text[..at]).ok()?;
    Some((repository, text[at + 1..].split('/').collect()))
}

#[cfg(test)]
mod tests;
