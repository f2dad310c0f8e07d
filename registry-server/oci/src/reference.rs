//! Tags, and what a manifest can be asked for by.

use std::fmt;

use crate::error::quoted;
use crate::{Digest, Error};

/// The longest tag in bytes (OCI distribution 1.1, "Pulling manifests").
pub const TAG_MAX: usize = 128;

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (OCI distribution 1.1, "Pulling manifests").
///
/// Invariants: it is never `.` or `..` and holds no separator, so that it is safe as a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Reads a tag.
    ///
    /// # Errors
    /// [`Error::InvalidTag`], the caller's fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidTag {
            given: quoted(text),
            reason,
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match text.as_bytes() {
            [] => Err(invalid("it is empty")),
            bytes if bytes.len() > TAG_MAX => Err(invalid("it is longer than 128 bytes")),
            [first, ..] if !word(*first) => Err(invalid("it does not begin with a letter, a digit or `_`")),
            [_, rest @ ..]
                if !rest
                    .iter()
                    .all(|&byte| word(byte) || byte == b'.' || byte == b'-') =>
            {
                Err(invalid(
                    "it has a character other than letters, digits, `.`, `_` and `-`",
                ))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The tag as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag or a digest, by which a client asks for a manifest (OCI distribution 1.1, "Pulling manifests").
///
/// ```
/// use registry_oci::Reference;
///
/// assert!(matches!(Reference::parse("v1.2")?, Reference::Tag(_)));
/// assert!(Reference::parse("sha256:no-digest").is_err());
/// # Ok::<(), registry_oci::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By name.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

impl Reference {
    /// Reads a reference. A text in the form of a digest is a digest, every other text a tag.
    ///
    /// # Errors
    /// Those of [`Digest::parse`] and [`Tag::parse`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if Digest::looks_like(text) {
            Digest::parse(text).map(Self::Digest)
        } else {
            Tag::parse(text).map(Self::Tag)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_follow_the_grammar() {
        for tag in ["latest", "_", "1.0", "v1.0-rc.1", "A", "a.tmp", &"x".repeat(128)] {
            assert_eq!(Tag::parse(tag).unwrap().as_str(), tag);
        }
        for tag in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a:b",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(129),
        ] {
            assert!(Tag::parse(tag).is_err(), "accepted: {tag:?}");
        }
    }

    #[test]
    fn a_colon_makes_a_reference_a_digest() {
        let digest = Digest::sha256(b"x");
        assert_eq!(
            Reference::parse(&digest.to_string()).unwrap(),
            Reference::Digest(digest)
        );
        assert_eq!(
            Reference::parse("v1").unwrap(),
            Reference::Tag(Tag::parse("v1").unwrap())
        );
        assert!(matches!(
            Reference::parse("sha256:abc"),
            Err(Error::InvalidDigest { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_mutated_reference_panics_and_what_is_accepted_prints_as_it_came(
            text in registry_mutation::mutated_text(&["latest", "v1.2.3-rc_4", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"])
        ) {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(reference.to_string(), text);
            }
        }

        #[test]
        fn no_input_panics_and_what_is_accepted_prints_as_it_came(text in "\\PC{0,150}|[a-z.:_-]{0,20}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
