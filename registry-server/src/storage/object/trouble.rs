//! Sorts what a store over the network says.
//!
//! The library's errors tell little by their type: `NotFound` may be an object or the whole bucket, `Generic` anything.
//! What tells them apart is the status and the store's own code, which stand in the text of the answer.

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

use crate::storage::{Error, StorageKey, Trouble};

/// An error of ours for one of the library's.
pub(super) fn sort(action: &'static str, key: &StorageKey, error: object_store::Error) -> Error {
    let key = key.clone();
    let trouble = match &error {
        object_store::Error::NotFound { .. } if says(&error, &["NoSuchBucket", "ContainerNotFound"]) => {
            Trouble::NoBucket
        }
        object_store::Error::NotFound { .. } => return Error::NotFound { key },
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            return Error::AlreadyExists { key };
        }
        error => trouble(error),
    };
    Error::Remote {
        action,
        key,
        trouble,
        source: Box::new(error),
    }
}

/// What any failure comes down to.
pub(super) fn trouble(error: &(dyn StdError + 'static)) -> Trouble {
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            return match error.kind() {
                HttpErrorKind::Connect => Trouble::Unreachable,
                HttpErrorKind::Timeout => Trouble::TimedOut,
                _ => Trouble::Failed,
            };
        }
        if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
            return if error.is_connect() {
                Trouble::Unreachable
            } else if error.is_timeout() {
                Trouble::TimedOut
            } else {
                error
                    .status()
                    .map_or(Trouble::Failed, |status| of_status(status.as_u16()))
            };
        }
    }
    if says(
        error,
        &["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"],
    ) {
        return Trouble::NoBucket;
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
        return Trouble::WrongRegion;
    }
    if says(error, &["SlowDown", "ServerBusy", "TooManyRequests"]) {
        return Trouble::Overloaded;
    }
    status(error).map_or(Trouble::Failed, of_status)
}

fn of_status(status: u16) -> Trouble {
    match status {
        401 | 403 => Trouble::Refused,
        301 | 307 => Trouble::WrongRegion,
        408 | 504 => Trouble::TimedOut,
        429 | 503 => Trouble::Overloaded,
        _ => Trouble::Failed,
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

fn says(error: &(dyn StdError + 'static), words: &[&str]) -> bool {
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
