//! Classifies the errors of a store over the network.
//!
//! The type of the library's errors says little: `NotFound` may mean an object or the whole bucket, `Generic` anything. The
//! status and the store's own error code tell them apart; both are in the text of the error.

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

use super::last_seen::LastSeen;
use crate::storage::{Cause, Error, StorageKey, StoreHealth};

/// Turns the library's errors into [`Error`]s, and reports those that concern the whole store to its health.
#[derive(Debug, Clone)]
pub(super) struct ErrorClassifier {
    /// The store's name for log lines.
    pub(super) store: std::sync::Arc<str>,
    pub(super) store_health: StoreHealth,
    /// When the bucket answered last.
    pub(super) seen: LastSeen,
}

impl ErrorClassifier {
    /// The error for one of the library's.
    pub(super) fn classify(
        &self,
        action: &'static str,
        key: &StorageKey,
        error: object_store::Error,
    ) -> Error {
        self.note(classify(action, key, error))
    }

    /// Reports an error that was classified already.
    pub(super) fn note(&self, error: Error) -> Error {
        self.store_health.note_failure(&self.store, &error);
        error
    }

    /// Notes a successful write.
    pub(super) fn note_write(&self) {
        self.seen.now();
        self.store_health.note_write(&self.store);
    }

    /// Notes a successful read or list.
    pub(super) fn note_read(&self) {
        self.seen.now();
        self.store_health.note_read(&self.store);
    }
}

/// The error for one of the library's.
fn classify(action: &'static str, key: &StorageKey, error: object_store::Error) -> Error {
    let key = key.clone();
    let cause = match &error {
        object_store::Error::NotFound { .. } if says(&error, &["NoSuchBucket", "ContainerNotFound"]) => {
            Cause::NoBucket
        }
        object_store::Error::NotFound { .. } => return Error::NotFound { key },
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            return Error::AlreadyExists { key };
        }
        error => cause(error),
    };
    Error::Remote {
        action,
        key,
        cause,
        source: Box::new(error),
    }
}

/// The cause of any failure.
pub(super) fn cause(error: &(dyn StdError + 'static)) -> Cause {
    #[cfg(feature = "s3")]
    if causes(error).any(|cause| cause.is::<NoCredentials>()) {
        // No request reached the store. If the provider of credentials refused them, waiting does not help.
        return match status(error) {
            Some(400 | 401 | 403 | 404) if !says(error, &["Throttl"]) => Cause::Refused,
            _ => Cause::NoCredentials,
        };
    }
    for cause in causes(error) {
        #[cfg(feature = "azure")]
        if cause.is::<TwoTrees>() {
            return Cause::TwoTrees;
        }
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            return match error.kind() {
                HttpErrorKind::Connect => Cause::Unreachable,
                HttpErrorKind::Timeout => Cause::TimedOut,
                _ => Cause::Failed,
            };
        }
        if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
            return if error.is_connect() {
                Cause::Unreachable
            } else if error.is_timeout() {
                Cause::TimedOut
            } else {
                error
                    .status()
                    .map_or(Cause::Failed, |status| of_status(status.as_u16()))
            };
        }
    }
    if says(
        error,
        &["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"],
    ) {
        return Cause::NoBucket;
    }
    if says(
        error,
        &[
            "AuthorizationHeaderMalformed",
            "PermanentRedirect",
            "without LOCATION",
            "IllegalLocationConstraint",
        ],
    ) {
        return Cause::WrongRegion;
    }
    // Temporary credentials that are invalid or expired; the status is 400.
    if says(error, &["InvalidToken", "ExpiredToken"]) {
        return Cause::Refused;
    }
    if says(error, &["SlowDown", "ServerBusy", "TooManyRequests"]) {
        return Cause::Overloaded;
    }
    status(error).map_or(Cause::Failed, of_status)
}

fn of_status(status: u16) -> Cause {
    match status {
        401 | 403 => Cause::Refused,
        301 | 307 => Cause::WrongRegion,
        408 | 504 => Cause::TimedOut,
        429 | 503 => Cause::Overloaded,
        _ => Cause::Failed,
    }
}

/// The status of the store's answer, if there was one.
pub(super) fn status(error: &(dyn StdError + 'static)) -> Option<u16> {
    causes(error).find_map(|cause| {
        let text = cause.to_string();
        let (_, rest) = text.split_once("status code: ")?;
        rest.get(..3)?.parse().ok()
    })
}

pub(super) fn says(error: &(dyn StdError + 'static), words: &[&str]) -> bool {
    causes(error).any(|cause| {
        let text = cause.to_string();
        words.iter().any(|word| text.contains(word))
    })
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        next = current.source();
        Some(current)
    })
}

/// A container holds a registry under names with a slash before them, and one under names without.
#[cfg(feature = "azure")]
#[derive(Debug, thiserror::Error)]
#[error(
    "both `/{prefix}docker` and `{prefix}docker` hold a registry, as distribution 2 and 3 name them: move one of them to another \
     container, or take another `rootdirectory`"
)]
pub(super) struct TwoTrees {
    pub(super) prefix: String,
}

/// The provider of credentials gave none.
#[cfg(feature = "s3")]
#[derive(Debug, thiserror::Error)]
#[error("cannot get credentials for the store")]
pub(super) struct NoCredentials(#[source] pub(super) Box<dyn StdError + Send + Sync>);
