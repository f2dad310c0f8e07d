//! The kinds of damage in a store, each with a sentence: the object, what is wrong with it, what that means for users,
//! and what a repair does.

use std::fmt;

use registry_oci::{Digest, RepositoryName, Tag};
use serde::Serialize;

use crate::storage::layout::ObjectPath;

/// A broken object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The bytes of a payload have another digest.
    BlobDamaged {
        /// The digest that it should have.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A link holds no digest: a crash emptied it, or something else wrote into it.
    LinkEmpty {
        /// The link.
        link: ObjectPath,
    },
    /// A link holds another digest than its name says.
    LinkWrong {
        /// The link.
        link: ObjectPath,
        /// The digest that it holds.
        holds: Digest,
    },
    /// A link leads to a payload that is missing or damaged.
    LinkDangling {
        /// The link.
        link: ObjectPath,
        /// The digest that it holds.
        target: Digest,
    },
    /// A tag means a manifest that its repository does not have.
    TagDangling {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
        /// The manifest.
        digest: Digest,
    },
    /// A tag has no link to a manifest, or an empty one.
    TagUnset {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
        /// The state of its history.
        history: TagHistory,
    },
    /// A manifest has its digest but cannot be parsed.
    ManifestUnreadable {
        /// The repository.
        repository: RepositoryName,
        /// The manifest.
        digest: Digest,
        /// The error of the parser.
        reason: String,
    },
    /// A manifest refers to a blob that its repository does not have.
    BlobMissing {
        /// The repository.
        repository: RepositoryName,
        /// The manifest.
        manifest: Digest,
        /// The blob.
        digest: Digest,
    },
    /// An index lists a manifest that its repository does not have.
    ManifestMissing {
        /// The repository.
        repository: RepositoryName,
        /// The index.
        manifest: Digest,
        /// The manifest that is missing.
        digest: Digest,
    },
    /// A manifest refers to content with a wrong size.
    WrongSize {
        /// The repository.
        repository: RepositoryName,
        /// The manifest.
        manifest: Digest,
        /// The content.
        digest: Digest,
        /// The size that the manifest says.
        said: u64,
        /// The size of the content.
        actual: u64,
    },
    /// An entry of the index of referrers cannot be read.
    ReferrerUnreadable {
        /// The repository.
        repository: RepositoryName,
        /// The subject.
        subject: Digest,
        /// The manifest that refers to it.
        referrer: Digest,
    },
    /// A manifest is missing among the referrers of its subject.
    ReferrerLost {
        /// The repository.
        repository: RepositoryName,
        /// The subject.
        subject: Digest,
        /// The manifest that refers to it.
        referrer: Digest,
    },
    /// A folder holds a repository, but its name is none that a repository can have.
    RepositoryNameInvalid {
        /// Its path below the folder of all repositories.
        name: String,
    },
    /// An object cannot be read.
    Unreadable {
        /// The error of the store, which names the object.
        cause: String,
    },
}

/// The state of the history of a tag that has no manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagHistory {
    /// The link of the tag was emptied, and the repository still has a manifest of its history.
    Recoverable,
    /// Nothing tells what the tag means: it has no link, or the manifests of its history are gone too.
    Lost,
}

impl Finding {
    /// The fixed name of the kind of damage, for scripts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BlobDamaged { .. } => "blob-damaged",
            Self::LinkEmpty { .. } => "link-empty",
            Self::LinkWrong { .. } => "link-wrong",
            Self::LinkDangling { .. } => "link-dangling",
            Self::TagDangling { .. } => "tag-dangling",
            Self::TagUnset { .. } => "tag-unset",
            Self::ManifestUnreadable { .. } => "manifest-unreadable",
            Self::BlobMissing { .. } => "blob-missing",
            Self::ManifestMissing { .. } => "manifest-missing",
            Self::WrongSize { .. } => "wrong-size",
            Self::ReferrerUnreadable { .. } => "referrer-unreadable",
            Self::ReferrerLost { .. } => "referrer-lost",
            Self::RepositoryNameInvalid { .. } => "repository-strange",
            Self::Unreadable { .. } => "unreadable",
        }
    }

    /// The objects that it is about, for scripts.
    pub fn about(&self) -> About<'_> {
        let mut about = About::default();
        match self {
            Self::BlobDamaged { digest, .. } => about.digest = Some(digest),
            Self::LinkEmpty { link } | Self::LinkWrong { link, .. } | Self::LinkDangling { link, .. } => {
                match link {
                    ObjectPath::LayerLink { repository, digest }
                    | ObjectPath::RevisionLink { repository, digest } => {
                        about.repository = Some(repository.as_str());
                        about.digest = Some(digest);
                    }
                    ObjectPath::TagIndex {
                        repository,
                        tag,
                        digest,
                    } => {
                        about.repository = Some(repository.as_str());
                        about.tag = Some(tag.as_str());
                        about.digest = Some(digest);
                    }
                    ObjectPath::BlobAlias { digest } => about.digest = Some(digest),
                    // No finding is about a link at another path.
                    _ => {}
                }
            }
            Self::TagDangling {
                repository,
                tag,
                digest,
            } => {
                about.repository = Some(repository.as_str());
                about.tag = Some(tag.as_str());
                about.digest = Some(digest);
            }
            Self::TagUnset { repository, tag, .. } => {
                about.repository = Some(repository.as_str());
                about.tag = Some(tag.as_str());
            }
            Self::ManifestUnreadable {
                repository, digest, ..
            } => {
                about.repository = Some(repository.as_str());
                about.digest = Some(digest);
            }
            Self::BlobMissing {
                repository,
                manifest,
                digest,
            }
            | Self::ManifestMissing {
                repository,
                manifest,
                digest,
            }
            | Self::WrongSize {
                repository,
                manifest,
                digest,
                ..
            } => {
                about.repository = Some(repository.as_str());
                about.manifest = Some(manifest);
                about.digest = Some(digest);
            }
            Self::ReferrerUnreadable {
                repository,
                subject,
                referrer,
            }
            | Self::ReferrerLost {
                repository,
                subject,
                referrer,
            } => {
                about.repository = Some(repository.as_str());
                about.manifest = Some(referrer);
                about.digest = Some(subject);
            }
            Self::RepositoryNameInvalid { name } => about.repository = Some(name),
            Self::Unreadable { .. } => {}
        }
        about
    }
}

/// The objects that a finding is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About<'a> {
    /// The repository, or the path of a folder whose name no repository can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<&'a str>,
    /// The tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<&'a str>,
    /// The manifest that refers to the digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<&'a Digest>,
    /// The digest of the broken or missing object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<&'a Digest>,
}

impl Finding {
    /// The remedy: by a repair, or by people.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::BlobDamaged { .. } => {
                "`--repair` moves it to the trash, so that the next push brings it again"
            }
            Self::LinkEmpty { .. } | Self::LinkWrong { .. } | Self::LinkDangling { .. } => {
                "`--repair` moves the link to the trash"
            }
            Self::TagDangling { .. }
            | Self::TagUnset {
                history: TagHistory::Lost,
                ..
            } => "`--repair` moves the tag to the trash",
            Self::TagUnset {
                history: TagHistory::Recoverable,
                ..
            } => {
                "`--repair` leaves it, because its history may tell what it meant: push it again, or delete it"
            }
            Self::ManifestUnreadable { .. } => "`--repair` leaves it: delete it by its digest",
            Self::BlobMissing { .. } => "`--repair` cannot help: push it again, or delete the manifest",
            Self::ManifestMissing { .. } => "`--repair` cannot help: push it again, or delete the index",
            Self::WrongSize { .. } => {
                "`--repair` cannot help, but with `--digests` it moves the blob if that is what is damaged"
            }
            Self::ReferrerUnreadable { .. } => {
                "`--repair` moves it to the trash, and the next list writes it anew"
            }
            Self::ReferrerLost { .. } => "`--repair` moves its mark to the trash, and the next list finds it",
            Self::RepositoryNameInvalid { .. } => {
                "`--repair` leaves it: rename it, or move it out of the store"
            }
            Self::Unreadable { .. } => "`--repair` cannot help: look at the store",
        }
    }

    /// The object, what is wrong with it, and what that means for users.
    pub fn problem(&self) -> impl fmt::Display {
        Problem(self)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

struct Problem<'a>(&'a Finding);

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Finding::BlobDamaged { digest, size } => write!(
                f,
                "blob {digest} is damaged: its {size} bytes have another digest, and clients refuse it"
            ),
            Finding::LinkEmpty { link } => write!(
                f,
                "{} holds no digest: it counts as missing until it is pushed again",
                LinkName(link)
            ),
            Finding::LinkWrong { link, holds } => write!(
                f,
                "{} holds {holds}: clients get something else than they ask for, and refuse it",
                LinkName(link)
            ),
            Finding::LinkDangling { link, target } => write!(
                f,
                "{} leads to {target}, which is missing or damaged: it cannot be pulled until it is pushed again",
                LinkName(link)
            ),
            Finding::TagDangling {
                repository,
                tag,
                digest,
            } => write!(
                f,
                "tag {repository}:{tag} means manifest {digest}, which is not there: it is listed and cannot be pulled"
            ),
            Finding::TagUnset { repository, tag, .. } => write!(
                f,
                "tag {repository}:{tag} does not say what it means: it is listed and cannot be pulled"
            ),
            Finding::ManifestUnreadable {
                repository,
                digest,
                reason,
            } => write!(
                f,
                "manifest {digest} of {repository} cannot be read ({reason}): it cannot be pulled, and no garbage is \
                 collected"
            ),
            Finding::BlobMissing {
                repository,
                manifest,
                digest,
            } => write!(
                f,
                "manifest {manifest} of {repository} mentions blob {digest}, which is missing there or damaged: it \
                 cannot be pulled whole"
            ),
            Finding::ManifestMissing {
                repository,
                manifest,
                digest,
            } => write!(
                f,
                "index {manifest} of {repository} lists manifest {digest}, which is missing there or damaged: that \
                 part of it cannot be pulled"
            ),
            Finding::WrongSize {
                repository,
                manifest,
                digest,
                said,
                actual,
            } => write!(
                f,
                "manifest {manifest} of {repository} says that {digest} has {said} bytes, but there are {actual}: \
                 clients refuse it"
            ),
            Finding::ReferrerUnreadable {
                repository,
                subject,
                referrer,
            } => write!(
                f,
                "the entry of {referrer} among the referrers of {subject} in {repository} cannot be read: the list is \
                 slower"
            ),
            Finding::ReferrerLost {
                repository,
                subject,
                referrer,
            } => write!(
                f,
                "manifest {referrer} of {repository} is missing among the referrers of {subject}: clients do not find \
                 it there"
            ),
            Finding::RepositoryNameInvalid { name } => write!(
                f,
                "folder `{}` lies among the repositories but has a name that none can have: nothing in it can be \
                 pulled, and no garbage is collected",
                name.escape_debug()
            ),
            Finding::Unreadable { cause } => write!(f, "{cause}: whoever asks for it gets an error"),
        }
    }
}

/// A link in words.
struct LinkName<'a>(&'a ObjectPath);

impl fmt::Display for LinkName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ObjectPath::LayerLink { repository, digest } => {
                write!(f, "the link of {repository} to blob {digest}")
            }
            ObjectPath::RevisionLink { repository, digest } => {
                write!(f, "the link of {repository} to manifest {digest}")
            }
            ObjectPath::TagIndex {
                repository,
                tag,
                digest,
            } => write!(f, "the entry {digest} in the history of tag {repository}:{tag}"),
            ObjectPath::BlobAlias { digest } => write!(f, "the link from the other digest {digest}"),
            path => write!(f, "`{}`", path.key()),
        }
    }
}
