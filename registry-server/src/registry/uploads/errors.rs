//! The errors of uploads, each an [`Error`] that names the session.

use registry_oci::{Digest, RepositoryName, UploadId};

use super::session_lock::LockError;
use crate::registry::Error;
use crate::registry::store_body::StoredBody;
use crate::storage;

/// Why a body is not what its request announced, if it is not. The upload now has `size` bytes.
pub(super) fn body_error(
    id: &UploadId,
    size: u64,
    body: StoredBody,
    announced: Option<u64>,
) -> Option<Error> {
    let StoredBody { length, interrupted } = body;
    match (interrupted, announced) {
        (Some(source), _) if source.is::<LockError>() => Some(Error::UploadOvertaken {
            id: id.clone(),
            actual: size,
        }),
        (Some(source), _) => Some(Error::UploadInterrupted {
            id: id.clone(),
            received: length,
            source,
        }),
        (None, Some(expected)) if expected != length => Some(Error::UploadLength {
            id: id.clone(),
            expected,
            received: length,
        }),
        (None, _) => None,
    }
}

/// The error of a store on the data of a session.
pub(super) fn store_error(
    doing: &'static str,
    repository: &RepositoryName,
    id: &UploadId,
    source: storage::Error,
) -> Error {
    match source {
        storage::Error::NotFound { .. } => unknown(repository, id),
        storage::Error::OffsetMismatch { expected, actual, .. } => Error::UploadOffset {
            id: id.clone(),
            expected,
            actual,
        },
        storage::Error::Busy { .. } => Error::UploadBusy { id: id.clone() },
        source => Error::Storage { doing, source },
    }
}

/// The repository has no such session.
pub(super) fn unknown(repository: &RepositoryName, id: &UploadId) -> Error {
    Error::UploadUnknown {
        repository: repository.clone(),
        id: id.clone(),
    }
}

/// The bytes of a session have another digest than the client claimed.
pub(super) fn digest_mismatch(
    repository: &RepositoryName,
    id: &UploadId,
    claimed: &Digest,
    actual: Digest,
) -> Error {
    Error::DigestMismatch {
        repository: repository.clone(),
        id: id.clone(),
        claimed: *claimed,
        actual,
    }
}
