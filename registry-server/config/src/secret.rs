//! A secret value, which masks itself whenever it is printed or serialised.
//!
//! Deliberately absent: `Display`, and any serialisation of the text. Only [`Secret::expose`] gives the text, and it is easy
//! to search for.

use serde::{Deserialize, Serialize, Serializer};

/// The text that is printed in place of a secret. As the value of a secret it is refused, so that no server starts with the
/// mask of a printed configuration as its key.
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

    /// Whether the text is empty, which distribution treats as unset.
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

/// A URL with [`MASK`] in place of its password (RFC 3986, section 3.2.1). `None` for a text without one.
pub(crate) fn mask_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (userinfo, host) = authority.rsplit_once('@')?;
    let (user, password) = userinfo.split_once(':')?;
    if password.is_empty() {
        return None;
    }
    let path = &rest[authority.len()..];
    Some(format!("{scheme}://{user}:{MASK}@{host}{path}"))
}
