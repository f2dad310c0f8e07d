//! Ids of upload sessions.

use std::fmt;

use uuid::Uuid;

use crate::Error;
use crate::error::quoted;

/// The longest upload id in bytes: it is one file name.
pub const UPLOAD_ID_MAX: usize = 255;

/// The id of an upload session ("Pushing a blob in chunks", OCI distribution 1.1: opaque to clients).
///
/// Ours are time-ordered UUIDs as distribution 3.1 makes them; what is accepted is what its route accepts,
/// `[a-zA-Z0-9-_.=]+`.
///
/// Invariants: not empty, at most [`UPLOAD_ID_MAX`] bytes, never `.` or `..`, so that it is safe as a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// A new id, different from every other one.
    pub fn unique() -> Self {
        Self(Uuid::now_v7().hyphenated().to_string())
    }

    /// Reads an id.
    ///
    /// # Errors
    /// [`Error::InvalidUploadId`], the caller's fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte);
        let valid = !text.is_empty()
            && text.len() <= UPLOAD_ID_MAX
            && text.bytes().all(allowed)
            && text.bytes().any(|byte| byte != b'.');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::InvalidUploadId { given: quoted(text) })
        }
    }

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_ids_are_accepted_and_differ() {
        let (one, two) = (UploadId::unique(), UploadId::unique());
        assert_ne!(one, two);
        assert_eq!(UploadId::parse(one.as_str()).unwrap(), one);
    }

    #[test]
    fn ids_that_are_no_file_name_are_refused() {
        for text in [
            "",
            ".",
            "..",
            "...",
            "a/b",
            "a b",
            "a%2fb",
            "ä",
            "a\0",
            &"a".repeat(256),
        ] {
            assert!(UploadId::parse(text).is_err(), "accepted: {text:?}");
        }
        assert!(UploadId::parse("Ab0-_.=").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_mutated_id_panics_and_accepted_ones_are_one_file_name(
            text in registry_mutation::mutated_text(&["0197c3a0-5b1c-7d2e-8f3a-4b5c6d7e8f90", "Ab0-_.=", "a..b"])
        ) {
            if let Ok(id) = UploadId::parse(&text) {
                let id = id.as_str();
                proptest::prop_assert!(!id.contains(['/', '\0']) && id != "." && id != ".." && id.len() <= 255);
            }
        }
    }
}
