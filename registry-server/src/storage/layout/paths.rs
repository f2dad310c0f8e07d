//! A constructor for each path that belongs to a repository: callers have borrowed names.

use registry_oci::{Digest, RepositoryName, Tag, UploadId};

use super::ObjectPath;

impl ObjectPath {
    /// The payload of a blob.
    pub fn blob_data(digest: &Digest) -> Self {
        Self::BlobData { digest: *digest }
    }

    /// The link from a digest of another algorithm to a payload.
    pub fn blob_alias(digest: &Digest) -> Self {
        Self::BlobAlias { digest: *digest }
    }

    /// The link of a repository to a blob.
    pub fn layer_link(repository: &RepositoryName, digest: &Digest) -> Self {
        Self::LayerLink {
            repository: repository.clone(),
            digest: *digest,
        }
    }

    /// The link of a repository to a manifest.
    pub fn revision_link(repository: &RepositoryName, digest: &Digest) -> Self {
        Self::RevisionLink {
            repository: repository.clone(),
            digest: *digest,
        }
    }

    /// The manifest that a tag leads to.
    pub fn tag_current(repository: &RepositoryName, tag: &Tag) -> Self {
        Self::TagCurrent {
            repository: repository.clone(),
            tag: tag.clone(),
        }
    }

    /// A manifest that a tag leads to, or led to once.
    pub fn tag_index(repository: &RepositoryName, tag: &Tag, digest: &Digest) -> Self {
        Self::TagIndex {
            repository: repository.clone(),
            tag: tag.clone(),
            digest: *digest,
        }
    }

    /// The bytes of an upload session.
    pub fn upload_data(repository: &RepositoryName, id: &UploadId) -> Self {
        Self::UploadData {
            repository: repository.clone(),
            id: id.clone(),
        }
    }

    /// The time when an upload session began.
    pub fn upload_started_at(repository: &RepositoryName, id: &UploadId) -> Self {
        Self::UploadStartedAt {
            repository: repository.clone(),
            id: id.clone(),
        }
    }

    /// The state of the hash over the first `offset` bytes of an upload session.
    pub fn upload_hash_state(repository: &RepositoryName, id: &UploadId, offset: u64) -> Self {
        Self::UploadHashState {
            repository: repository.clone(),
            id: id.clone(),
            offset,
        }
    }

    /// The record of an upload session whose bytes are stored in parts.
    pub fn upload_session(repository: &RepositoryName, id: &UploadId) -> Self {
        Self::UploadSession {
            repository: repository.clone(),
            id: id.clone(),
        }
    }

    /// The entry of a manifest among the referrers of its subject.
    pub fn referrer_entry(repository: &RepositoryName, subject: &Digest, referrer: &Digest) -> Self {
        Self::ReferrerEntry {
            repository: repository.clone(),
            subject: *subject,
            referrer: *referrer,
        }
    }

    /// The mark that a manifest is indexed.
    pub fn referrer_known(repository: &RepositoryName, digest: &Digest) -> Self {
        Self::ReferrerKnown {
            repository: repository.clone(),
            digest: *digest,
        }
    }

    /// The time of the last deletion in a repository.
    pub fn last_deletion(repository: &RepositoryName) -> Self {
        Self::LastDeletion {
            repository: repository.clone(),
        }
    }
}
