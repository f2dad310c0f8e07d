//! What can be wrong with a word of the specification. Every variant is the caller's fault.

/// Why a value was refused. The text never repeats more than 80 bytes of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `algorithm:hex` with the right number of lower-case hexadecimal digits.
    #[error("`{given}` is not a digest: {reason}")]
    InvalidDigest {
        /// What was given, shortened.
        given: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A well-formed digest of an algorithm this registry does not verify.
    #[error("digest algorithm `{given}` is not supported: use sha256 or sha512")]
    UnsupportedAlgorithm {
        /// The algorithm, shortened.
        given: String,
    },
    /// Not a repository name.
    #[error("`{given}` is not a repository name: {reason}")]
    InvalidRepositoryName {
        /// What was given, shortened.
        given: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Not a tag.
    #[error("`{given}` is not a tag: {reason}")]
    InvalidTag {
        /// What was given, shortened.
        given: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Not a media type.
    #[error("`{given}` is not a media type")]
    InvalidMediaType {
        /// What was given, shortened.
        given: String,
    },
    /// Not the id of an upload session.
    #[error("`{given}` is not an upload id")]
    InvalidUploadId {
        /// What was given, shortened.
        given: String,
    },
    /// Not a manifest or an index.
    #[error("not a manifest: {reason}")]
    InvalidManifest {
        /// Which rule it breaks.
        reason: String,
    },
    /// Not a saved SHA-256 state.
    #[error("not a saved SHA-256 state: {reason}")]
    InvalidHashState {
        /// Which rule it breaks.
        reason: &'static str,
    },
}

/// How much of an input an error repeats.
pub(crate) const QUOTED_MAX: usize = 80;

/// The start of `input`, safe to print: cut at [`QUOTED_MAX`] bytes, control characters escaped.
pub(crate) fn quoted(input: &str) -> String {
    let mut end = input.len().min(QUOTED_MAX);
    while !input.is_char_boundary(end) {
        end -= 1;
    }
    let mut text: String = input[..end].escape_debug().collect();
    if end < input.len() {
        text.push('…');
    }
    text
}
