//! The errors of a registry.

use std::fmt;

use registry_oci::{Digest, MediaType, Reference, RepositoryName, Tag, UploadId};

use super::manifest_rules::MissingReference;
use crate::cache;
use crate::fault::Fault;
use crate::storage;

/// Why a registry did not do what it was asked to do, in the order of the specification's codes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository has no such blob.
    #[error("repository {repository} has no blob {digest}")]
    BlobUnknown {
        /// The repository.
        repository: RepositoryName,
        /// The digest asked for.
        digest: Digest,
    },
    /// The repository has no such upload session.
    #[error("repository {repository} has no upload {id}")]
    UploadUnknown {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
    },
    /// A chunk does not begin where the upload ends. Nothing of it was stored.
    #[error("upload {id} holds {actual} bytes, the chunk begins at {expected}")]
    UploadOffset {
        /// The session.
        id: UploadId,
        /// Where the chunk begins.
        expected: u64,
        /// How many bytes the upload has.
        actual: u64,
    },
    /// Another request took the upload over. The bytes that came are kept.
    #[error("another request goes on with upload {id}, which holds {actual} bytes")]
    UploadOvertaken {
        /// The session.
        id: UploadId,
        /// How many bytes the upload has.
        actual: u64,
    },
    /// The request that has the upload does not end.
    #[error("another request is still storing bytes of upload {id}")]
    UploadBusy {
        /// The session.
        id: UploadId,
    },
    /// The client stopped sending. The bytes that came are kept.
    #[error("the client stopped sending to upload {id} after {received} bytes")]
    UploadInterrupted {
        /// The session.
        id: UploadId,
        /// How many bytes of this request were stored.
        received: u64,
        /// The error of the transport.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More or fewer bytes came than the request announced. The bytes that came are kept.
    #[error("upload {id} got {received} bytes, {expected} were announced")]
    UploadLength {
        /// The session.
        id: UploadId,
        /// How many bytes were announced.
        expected: u64,
        /// How many bytes came.
        received: u64,
    },
    /// The bytes do not have the digest that the client claimed. The upload is cancelled.
    #[error("upload {id} of {repository} was sent as {claimed} but its bytes are {actual}")]
    DigestMismatch {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
        /// The digest that the client claimed.
        claimed: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// The manifest does not have the digest that the client claimed.
    #[error("the manifest was sent as {claimed} but its bytes are {actual}")]
    ManifestDigestMismatch {
        /// The digest that the client claimed.
        claimed: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// The repository has no such manifest.
    #[error("repository {repository} has no manifest {reference}")]
    ManifestUnknown {
        /// The repository.
        repository: RepositoryName,
        /// The reference that was asked for.
        reference: Reference,
    },
    /// The repository has the manifest, but the client does not accept its type.
    #[error("manifest {reference} is of type {media_type}, which the request's Accept header does not list")]
    ManifestNotAccepted {
        /// The reference that was asked for.
        reference: Reference,
        /// The type of the manifest.
        media_type: MediaType,
    },
    /// The document is no manifest.
    #[error("the manifest is not valid")]
    ManifestInvalid {
        /// Why.
        #[source]
        source: registry_oci::Error,
    },
    /// The document is too large.
    #[error("the manifest has {size} bytes, more than the {limit} a manifest may have")]
    ManifestTooLarge {
        /// Its size, or how much of it was read.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The manifest refers to content the repository does not have.
    #[error("the manifest refers to {} the repository does not have", DigestCount(missing.len() + more))]
    ManifestReferences {
        /// The first digests that are missing.
        missing: Vec<MissingReference>,
        /// How many more digests are missing or were not looked up.
        more: usize,
    },
    /// The manifest says a wrong size.
    #[error("{digest} has {actual} bytes, the manifest says {said}")]
    ManifestSize {
        /// The content.
        digest: Digest,
        /// The size that the manifest says.
        said: u64,
        /// The size of the content.
        actual: u64,
    },
    /// A layer has a URL that is not allowed, or no URL although it needs one.
    #[error("{}", url_message(layer, url.as_deref()))]
    ManifestUrl {
        /// The layer.
        layer: Digest,
        /// The URL that is not allowed; none when there should be one.
        url: Option<String>,
    },
    /// Repositories may not hold manifests of this class.
    #[error("{}", class_message(config.as_ref(), *class))]
    ManifestClass {
        /// The type of the config, which tells the class.
        config: Option<MediaType>,
        /// The class, if the type has one.
        class: Option<&'static str>,
    },
    /// The repository does not exist.
    #[error("there is no repository {repository}")]
    RepositoryUnknown {
        /// The repository.
        repository: RepositoryName,
    },
    /// The repository has no such tag.
    #[error("repository {repository} has no tag {tag}")]
    TagUnknown {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
    },
    /// A range begins behind the end of the blob.
    #[error("the range begins behind the {size} bytes of the blob")]
    RangeNotSatisfiable {
        /// The size of the blob.
        size: u64,
    },
    /// Stored bytes do not have their digest.
    #[error("the store holds other bytes under {digest}")]
    Corrupt {
        /// The digest.
        digest: Digest,
    },
    /// A stored manifest cannot be read.
    #[error("the stored manifest {digest} cannot be read")]
    StoredManifest {
        /// The digest.
        digest: Digest,
        /// Why.
        #[source]
        source: registry_oci::Error,
    },
    /// A link cannot be deleted now, because the cache cannot be told to forget it.
    #[error("the cache cannot be told that a link is deleted")]
    CacheInvalidation {
        /// Why.
        #[source]
        source: cache::Error,
    },
    /// The store failed.
    #[error("cannot {doing}")]
    Storage {
        /// The action that failed.
        doing: &'static str,
        /// The error of the store.
        #[source]
        source: storage::Error,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

struct DigestCount(usize);

impl fmt::Display for DigestCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("one digest"),
            count => write!(f, "{count} digests"),
        }
    }
}

fn url_message(layer: &Digest, url: Option<&str>) -> String {
    match url {
        Some(url) => format!("layer {layer} lies at {url:?}, where layers may not lie"),
        None => format!("foreign layer {layer} has no URL"),
    }
}

fn class_message(config: Option<&MediaType>, class: Option<&str>) -> String {
    match (class, config) {
        (Some(class), _) => format!("repositories may not hold manifests of class {class}"),
        (None, Some(config)) => {
            format!("repositories may not hold manifests with a config of type {config}")
        }
        (None, None) => "repositories may not hold manifests with a config of no type".to_owned(),
    }
}

impl Error {
    /// Whether a stored manifest is damaged. In lists it counts as missing, so that it does not hide the others.
    pub(super) fn is_damaged_manifest(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::StoredManifest { .. })
    }

    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::BlobUnknown { .. }
            | Self::UploadUnknown { .. }
            | Self::UploadOffset { .. }
            | Self::UploadInterrupted { .. }
            | Self::UploadOvertaken { .. }
            | Self::UploadLength { .. }
            | Self::DigestMismatch { .. }
            | Self::ManifestDigestMismatch { .. }
            | Self::ManifestUnknown { .. }
            | Self::ManifestNotAccepted { .. }
            | Self::ManifestInvalid { .. }
            | Self::ManifestTooLarge { .. }
            | Self::ManifestReferences { .. }
            | Self::ManifestSize { .. }
            | Self::ManifestUrl { .. }
            | Self::ManifestClass { .. }
            | Self::RepositoryUnknown { .. }
            | Self::TagUnknown { .. }
            | Self::RangeNotSatisfiable { .. } => Fault::Caller,
            Self::Corrupt { .. } | Self::StoredManifest { .. } => Fault::Permanent,
            Self::CacheInvalidation { source } => source.fault(),
            Self::Storage { source, .. } => source.fault(),
            Self::UploadBusy { .. } | Self::Stopping => Fault::Transient {
                retry_after: Some(std::time::Duration::from_secs(1)),
            },
        }
    }

    /// Whether this error is normal operation: the server is stopping, or another replica has what is asked for.
    pub fn is_expected(&self) -> bool {
        match self {
            Self::Stopping | Self::UploadBusy { .. } => true,
            Self::Storage { source, .. } => {
                matches!(
                    source,
                    storage::Error::Stopping { .. } | storage::Error::Busy { .. }
                )
            }
            _ => false,
        }
    }

    /// Why the whole store takes no writes, if this error says that it takes none. The store's health has logged it
    /// already.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Storage { source, .. } => source.refusal(),
            _ => None,
        }
    }

    /// For `map_err`: the store failed during an action.
    pub(super) fn storage(doing: &'static str) -> impl Fn(storage::Error) -> Self {
        move |source| Self::Storage { doing, source }
    }
}
