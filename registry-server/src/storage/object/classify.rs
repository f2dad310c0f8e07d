//! Sorts what a store over the network says.
//!
//! The library's errors tell little by their type: `NotFound` may be an object or the whole bucket, `Generic` anything.
//! What tells them apart is the status and the store's own code, which stand in the text of the answer.

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

#[cfg(feature = "azure")]
use super::azure::TwoTrees;
use super::bucket::Seen;
#[cfg(feature = "s3")]
use super::s3::NoCredentials;
use crate::storage::{Cause, Error, StorageKey, StoreHealth};

/// Makes errors of ours of the library's, and tells of those that concern the whole store.
#[derive(Debug, Clone)]
pub(super) struct ErrorClassifier {
    /// The store's name for people.
    pub(super) store: std::sync::Arc<str>,
    pub(super) store_health: StoreHealth,
    /// When the bucket was seen last.
    pub(super) seen: Seen,
}

impl ErrorClassifier {
    /// An error of ours.
    pub(super) fn classify(
        &self,
        action: &'static str,
        key: &StorageKey,
        error: object_store::Error,
    ) -> Error {
        self.note(classify(action, key, error))
    }

    /// An error that was sorted elsewhere.
    pub(super) fn note(&self, error: Error) -> Error {
        self.store_health.note_failure(&self.store, &error);
        error
    }

    /// A write that went well.
    pub(super) fn note_write(&self) {
        self.seen.now();
        self.store_health.note_write(&self.store);
    }

    /// A read or a list that went well.
    pub(super) fn note_read(&self) {
        self.seen.now();
        self.store_health.note_read(&self.store);
    }
}

/// An error of ours for one of the library's.
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

/// What any failure comes down to.
pub(super) fn cause(error: &(dyn StdError + 'static)) -> Cause {
    #[cfg(feature = "s3")]
    if causes(error).any(|cause| cause.is::<NoCredentials>()) {
        // The store was not asked. Whoever gives credentials may have refused them: then waiting does not help.
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
    // Of temporary credentials; told by a 400.
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
