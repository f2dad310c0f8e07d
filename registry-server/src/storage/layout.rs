//! Where things lie on a disk or in a bucket: the only file that knows a path.
//!
//! Guarantees: every key is built from parsed types, so no input escapes the root; [`ObjectPath::parse`] undoes
//! [`ObjectPath::key`]; the tree is distribution's, version 2 and 3 alike, so that either server goes on where the
//! other stopped. What is ours alone lies below `docker/registry/berth`, which distribution never visits.
//! Must not: touch storage, know HTTP. No folder name is spelled outside this file.
//! Start at [`ObjectPath`]; the drawn tree is on it.

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

/// Every kind of object a registry keeps.
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
///   parts/<key>/<upload>/<part>                                         a driver's, of the object that will be at the key
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectPath {
    /// The payload of a blob; manifests are blobs too.
    BlobData {
        /// Its address.
        digest: Digest,
    },
    /// Grants a repository a blob. Holds the digest the payload is stored under.
    LayerLink {
        /// The repository.
        repository: RepositoryName,
        /// The digest the blob is asked for by.
        digest: Digest,
    },
    /// Says that a repository has a manifest. Holds the digest the payload is stored under.
    ///
    /// One that is not SHA-256 is ours alone, beside a SHA-256 one of the same manifest: distribution's
    /// `garbage-collect -m` would meet the manifest twice in its own tree, delete it and stop at the second.
    RevisionLink {
        /// The repository.
        repository: RepositoryName,
        /// The digest the manifest is asked for by.
        digest: Digest,
    },
    /// What a tag means now. Holds a digest.
    TagCurrent {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
    },
    /// What a tag has meant at some time. Holds the digest.
    TagIndex {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
        /// What it meant.
        digest: Digest,
    },
    /// The bytes of an upload session so far.
    UploadData {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
    },
    /// When an upload session began. Holds an RFC 3339 time.
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
        /// How many bytes the state covers.
        offset: u64,
    },
    /// Where an upload session stands whose data is stored in parts, with the bytes that are too few for one.
    UploadSession {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
    },
    /// One manifest that refers to a subject. Holds its descriptor as JSON.
    ReferrerEntry {
        /// The repository.
        repository: RepositoryName,
        /// What is referred to.
        subject: Digest,
        /// The manifest that refers to it.
        referrer: Digest,
    },
    /// Where a payload lies that is known by another digest than the one it is stored under. Holds that one.
    BlobAlias {
        /// The other digest.
        digest: Digest,
    },
    /// Says that a manifest was looked at for a subject.
    ReferrerKnown {
        /// The repository.
        repository: RepositoryName,
        /// The manifest.
        digest: Digest,
    },
    /// Says by its time when something of a repository was deleted last. Holds nothing.
    LastDeletion {
        /// The repository.
        repository: RepositoryName,
    },
    /// Says whose store this is, as JSON.
    Owner,
    /// Says that a server writes to this store. Holds who it is, as JSON.
    Writer {
        /// The server's run.
        id: Uuid,
    },
    /// Is written to learn what time the store says it is, and removed again.
    Probe {
        /// The asking.
        id: Uuid,
    },
    /// What a repair took out of its place, as it was.
    Trashed {
        /// The repair.
        run: Uuid,
        /// Where it lay.
        was: Box<ObjectPath>,
    },
    /// What a repair moves, written before it does. Holds a line of JSON.
    TrashJournal {
        /// The repair.
        run: Uuid,
        /// Which move of it.
        number: u64,
    },
    /// The bytes of an object that is on its way in, before it has its name.
    Incoming {
        /// The bringing.
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
                format!("{}/{LAYERS}/{}/{LINK}", home(repository), two(digest))
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
                    two(digest)
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
                    our_home(repository),
                    two(subject)
                )
            }
            Self::BlobAlias { digest } => {
                let hex = digest.hex();
                format!("{OURS}/blobs/{}/{}/{hex}", digest.algorithm(), &hex[..2])
            }
            Self::ReferrerKnown { repository, digest } => {
                format!("{}/known/{}", our_home(repository), two(digest))
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

    /// The prefix that stays when the last object below it is taken away; what lies between may go with it. Never
    /// the folder by which a repository is one.
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
            // Whoever only asks may be another user than the server, who could not write into folders made so.
            Self::Probe { .. } => TOP.to_owned(),
        })
    }

    /// The repository an object belongs to; none for payloads and for what the whole store has.
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

    /// What lies at a key, or nothing when no registry writes there.
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

/// Every kind of prefix something is listed or deleted below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPrefix<'a> {
    /// All repositories.
    Repositories,
    /// One repository, with those below it.
    Repository(&'a RepositoryName),
    /// The blobs a repository was granted; lists algorithms.
    Layers(&'a RepositoryName),
    /// The manifests side of a repository.
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
    /// What refers to a subject; [`referrer_name`] reads the names.
    Subject(&'a RepositoryName, &'a Digest),
    /// Which manifests were looked at for a subject; [`listed_digest`] reads the names.
    ReferrersKnown(&'a RepositoryName, Algorithm),
    /// The blobs a repository was granted under one algorithm; [`listed_digest`] reads the names.
    LayersOf(&'a RepositoryName, Algorithm),
    /// What a tag has meant, under one algorithm; [`listed_digest`] reads the names.
    TagHistory(&'a RepositoryName, &'a Tag, Algorithm),
    /// The payloads of one algorithm; [`listed_start`] reads the names.
    BlobStarts(Algorithm),
    /// The other digests of one algorithm; [`listed_start`] reads the names.
    BlobAliasStarts(Algorithm),
    /// The payloads whose digest begins with this byte; [`listed_digest`] reads the names.
    Blobs(Algorithm, u8),
    /// The other digests that begin with this byte; [`listed_digest`] reads the names.
    BlobAliases(Algorithm, u8),
    /// The repositories our own index knows, as [`PathPrefix::Repositories`].
    IndexedRepositories,
    /// The subjects of one algorithm that anything was seen to refer to; [`listed_digest`] reads the names.
    Subjects(&'a RepositoryName, Algorithm),
    /// The servers that write to this store; [`run`] reads the names.
    Writers,
    /// What was written only to look at the store; [`run`] reads the names.
    Probes,
    /// The repairs that moved anything; [`run`] reads the names.
    Trash,
    /// One repair, with what it moved.
    TrashOf(Uuid),
    /// The moves of one repair; [`journal_number`] reads the names.
    TrashJournal(Uuid),
    /// What is on its way in; [`run`] reads the names.
    Incoming,
    /// Parts of objects, where a store keeps none of its own; a driver's, which alone knows what lies there.
    Parts,
    /// Everything our own index says of a repository.
    Referrers(&'a RepositoryName),
}

impl PathPrefix<'_> {
    /// The key everything in the area begins with.
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
            Self::Layer(repository, digest) => format!("{}/{LAYERS}/{}", home(repository), two(digest)),
            Self::Tags(repository) => format!("{}/{MANIFESTS}/tags", home(repository)),
            Self::Tag(repository, tag) => format!("{}/{MANIFESTS}/tags/{tag}", home(repository)),
            Self::Uploads(repository) => format!("{}/{UPLOADS}", home(repository)),
            Self::Upload(repository, id) => format!("{}/{UPLOADS}/{id}", home(repository)),
            Self::UploadHashStates(repository, id) => {
                format!("{}/{UPLOADS}/{id}/hashstates/sha256", home(repository))
            }
            Self::Subject(repository, subject) => {
                format!("{}/subjects/{}", our_home(repository), two(subject))
            }
            Self::ReferrersKnown(repository, algorithm) => {
                format!("{}/known/{algorithm}", our_home(repository))
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
                format!("{}/subjects/{algorithm}", our_home(repository))
            }
            Self::Writers => format!("{OURS}/{WRITERS}"),
            Self::Probes => format!("{OURS}/{PROBES}"),
            Self::Trash => format!("{OURS}/{TRASH}"),
            Self::TrashOf(run) => format!("{OURS}/{TRASH}/{run}"),
            Self::TrashJournal(run) => format!("{OURS}/{TRASH}/{run}/{JOURNAL}"),
            Self::Incoming => format!("{OURS}/{INCOMING}"),
            Self::Parts => format!("{OURS}/{PARTS}"),
            Self::Referrers(repository) => our_home(repository),
        })
    }
}

/// What an entry means when it is found where repositories are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryEntry {
    /// A further component of names.
    Component,
    /// The folder by which a directory is a repository: that of manifests, as in distribution 3.
    Manifests,
    /// The folder of the blobs a repository was granted.
    Layers,
    /// The folder of a repository's upload sessions.
    Uploads,
    /// The folder of a repository in our own index.
    Referrers,
    /// The object that says when something of a repository was deleted last.
    LastDeletion,
    /// Another folder of a repository, or nothing of ours.
    Other,
}

/// Sorts an entry below [`PathPrefix::Repositories`] or [`PathPrefix::Repository`].
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

/// The digest a name stands for in a listing by algorithm.
pub fn listed_digest(algorithm: Algorithm, name: &str) -> Option<Digest> {
    digest(algorithm.name(), name)
}

/// The first byte that a name stands for where payloads are listed.
pub fn listed_start(name: &str) -> Option<u8> {
    // One spelling, so that the key can be built again.
    u8::from_str_radix(name, 16)
        .ok()
        .filter(|start| format!("{start:02x}") == name)
}

/// The number of a move in a repair's journal, from its name.
pub fn journal_number(name: &str) -> Option<u64> {
    // One spelling per number, so that the key can be built again.
    name.parse()
        .ok()
        .filter(|number: &u64| format!("{number:08}") == name)
}

/// The run of a server, of a probe or of a repair, from its name.
pub fn run(name: &str) -> Option<Uuid> {
    // One spelling, so that the key can be built again.
    Uuid::try_parse(name).ok().filter(|id| id.to_string() == name)
}

/// The number of bytes a hash state covers, from its name.
pub fn hash_state_offset(name: &str) -> Option<u64> {
    // One spelling per number, so that the key can be built again.
    name.parse()
        .ok()
        .filter(|offset: &u64| offset.to_string() == name)
}

/// The manifest an entry of [`PathPrefix::Subject`] stands for.
pub fn referrer_name(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('-')?;
    digest(algorithm, hex)
}

fn home(repository: &RepositoryName) -> String {
    format!("{ROOT}/repositories/{repository}")
}

fn our_home(repository: &RepositoryName) -> String {
    format!("{OURS}/repositories/{repository}/{REFERRERS}")
}

fn revisions(repository: &RepositoryName, algorithm: Algorithm) -> String {
    match algorithm {
        Algorithm::Sha256 => format!("{}/{MANIFESTS}/revisions/{algorithm}", home(repository)),
        Algorithm::Sha512 => format!("{OURS}/repositories/{repository}/{REVISIONS}/{algorithm}"),
    }
}

fn two(digest: &Digest) -> String {
    format!("{}/{}", digest.algorithm(), digest.hex())
}

fn digest(algorithm: &str, hex: &str) -> Option<Digest> {
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

/// Splits `/repositories/<name>/_rest`: a component that begins with `_` ends the name, for no name has one.
fn split_repository(text: &str) -> Option<(RepositoryName, Vec<&str>)> {
    let text = text.strip_prefix("/repositories/")?;
    let at = text.find("/_")?;
    let repository = RepositoryName::parse(&text[..at]).ok()?;
    Some((repository, text[at + 1..].split('/').collect()))
}

#[cfg(test)]
mod tests;
