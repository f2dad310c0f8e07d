//! The keys of objects in a store.

use std::fmt;

/// The name of an object or of a prefix: components joined by `/`, without one at either end.
///
/// Invariants: at least one component; none is empty, `.` or `..`; none holds a NUL. So a key that is joined to a root
/// folder or a bucket prefix never leaves it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageKey(String);

impl StorageKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if text.split('/').all(is_component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey::new(text))
        }
    }

    /// For [`super::layout`], which builds keys from parsed types only.
    pub(super) fn from_parts(text: String) -> Self {
        debug_assert!(text.split('/').all(is_component), "{text:?}");
        Self(text)
    }

    /// The key of `name` directly below this prefix.
    ///
    /// # Errors
    /// [`InvalidKey`] when `name` is not one component.
    pub fn child(&self, name: &str) -> Result<Self, InvalidKey> {
        if is_component(name) && !name.contains('/') {
            Ok(Self(format!("{}/{name}", self.0)))
        } else {
            Err(InvalidKey::new(name))
        }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a storage key.
#[derive(Debug, thiserror::Error)]
#[error("`{given}` is not a storage key")]
pub struct InvalidKey {
    given: String,
}

impl InvalidKey {
    /// The error for this text.
    pub(super) fn new(given: &str) -> Self {
        Self {
            given: given.escape_debug().to_string(),
        }
    }
}

fn is_component(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains('\0')
}

impl fmt::Display for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_leave_their_root() {
        for text in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0b"] {
            assert!(StorageKey::parse(text).is_err(), "accepted: {text:?}");
        }
        let key = StorageKey::parse("a/b").unwrap();
        assert_eq!(key.child("c").unwrap().as_str(), "a/b/c");
        assert!(key.child("..").is_err() && key.child("c/d").is_err() && key.child("").is_err());
    }
}
