//! Errors of parsing. Every variant is the caller's fault.

/// Why a value was refused. The text never repeats more than 80 bytes of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `algorithm:hex` with the right number of lower-case hexadecimal digits.
    #[error("`{given}` is not a digest: {reason}")]
    InvalidDigest {
        /// The text, shortened.
        given: String,
        /// The broken rule.
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
        /// The text, shortened.
        given: String,
        /// The broken rule.
        reason: &'static str,
    },
    /// Not a tag.
    #[error("`{given}` is not a tag: {reason}")]
    InvalidTag {
        /// The text, shortened.
        given: String,
        /// The broken rule.
        reason: &'static str,
    },
    /// Not a media type.
    #[error("`{given}` is not a media type")]
    InvalidMediaType {
        /// The text, shortened.
        given: String,
    },
    /// Not the id of an upload session.
    #[error("`{given}` is not an upload id")]
    InvalidUploadId {
        /// The text, shortened.
        given: String,
    },
    /// Not a manifest or an index. The reason is at most some hundred bytes long.
    #[error("not a manifest: {reason}")]
    InvalidManifest {
        /// The broken rule.
        reason: String,
    },
    /// Not a saved SHA-256 state.
    #[error("not a saved SHA-256 state: {reason}")]
    InvalidHashState {
        /// The broken rule.
        reason: &'static str,
    },
}

impl Error {
    /// An error for a document that is no manifest. Quotes of the document in the reason are shortened.
    pub(crate) fn manifest(reason: impl AsRef<str>) -> Self {
        Self::InvalidManifest {
            reason: shortened(reason.as_ref(), REASON_MAX),
        }
    }
}

/// The largest size of that reason in bytes.
const REASON_MAX: usize = 400;

/// A text shortened to about `most` bytes: its beginning, and its end, where JSON errors have the position.
pub fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let tail = most / 5;
    let (mut start, mut end) = (most - tail, text.len() - tail);
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    format!("{}…{}", &text[..start], &text[end..])
}

/// The largest part of an input that an error quotes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("short", 10), "short");
        assert_eq!(shortened("0123456789abcdef", 10), "01234567…ef");
        for most in 0..12 {
            let short = shortened("ääääääääää", most);
            assert!(short.len() <= most + "…".len(), "{most}: {short}");
        }
    }
}
