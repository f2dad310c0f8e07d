//! A value that must not be read by people: it masks itself wherever text is made of it.
//!
//! Deliberately absent: `Display`, and any serialisation that reveals. Whoever needs the text calls
//! [`Secret::expose`], which is easy to search for.

use serde::{Deserialize, Serialize, Serializer};

/// What is printed in place of a secret. Read back as a secret it is refused, so that a printed configuration
/// cannot be started by mistake with the mask as its key.
pub const MASK: &str = "<masked>";

/// A secret text: `Debug` and `Serialize` give [`MASK`].
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Never pass it to a log, an error, an event or a status.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all, which distribution treats as unset.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}
