//! Digests: content addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::Error;
use crate::error::quoted;

/// A digest algorithm this registry can verify ("Digests", OCI image specification 1.1, registered algorithms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, under which every payload is stored.
    Sha256,
    /// SHA-512, accepted as a second address of a payload.
    Sha512,
}

impl Algorithm {
    /// All algorithms; the first is the one under which payloads are stored.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of this registered name.
    ///
    /// # Errors
    /// [`Error::UnsupportedAlgorithm`] for any other name.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(Error::UnsupportedAlgorithm { given: quoted(name) }),
        }
    }

    const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The address of some bytes: `sha256:` or `sha512:` and the hash in lower-case hexadecimal digits
/// ("Digests", OCI image specification 1.1).
///
/// Invariants: the algorithm is one of [`Algorithm`], the hash has exactly its length. Therefore the text holds
/// no separator but one colon, and its hexadecimal part is safe as a file name.
///
/// ```
/// use registry_oci::{Algorithm, Digest};
///
/// let digest = Digest::sha256(b"hello");
/// assert_eq!(Digest::parse(&digest.to_string())?, digest);
/// assert_eq!(digest.algorithm(), Algorithm::Sha256);
/// assert!(Digest::parse("sha256:../../etc/passwd").is_err());
/// # Ok::<(), registry_oci::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    // Unused bytes are zero, so that the derived comparisons are those of the digests.
    hash: [u8; 64],
}

impl Digest {
    /// Reads a digest from its text form.
    ///
    /// # Errors
    /// [`Error::InvalidDigest`] and [`Error::UnsupportedAlgorithm`], both the caller's fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidDigest {
            given: quoted(text),
            reason,
        };
        let (name, hex) = text.split_once(':').ok_or_else(|| invalid("it has no `:`"))?;
        if !is_algorithm_name(name) {
            return Err(invalid("the part before `:` is no algorithm name"));
        }
        let algorithm = Algorithm::parse(name)?;
        if hex.len() != algorithm.length() * 2 {
            return Err(invalid("the hash has the wrong length for its algorithm"));
        }
        let mut hash = [0; 64];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => {
                    return Err(invalid(
                        "the hash is not written in lower-case hexadecimal digits",
                    ));
                }
            }
        }
        Ok(Self { algorithm, hash })
    }

    /// Whether `text` has the form of a digest of any algorithm. A reference of this form is never a tag.
    pub fn looks_like(text: &str) -> bool {
        text.contains(':')
    }

    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes` under `algorithm`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::from_hash(algorithm, &sha2::Sha256::digest(bytes)),
            Algorithm::Sha512 => Self::from_hash(algorithm, &sha2::Sha512::digest(bytes)),
        }
    }

    /// The digest for the output of a SHA-512 hash, for callers that hash a stream.
    pub fn from_sha512(output: &[u8; 64]) -> Self {
        Self::from_hash(Algorithm::Sha512, output)
    }

    pub(crate) fn from_hash(algorithm: Algorithm, output: &[u8]) -> Self {
        let mut hash = [0; 64];
        hash[..algorithm.length()].copy_from_slice(&output[..algorithm.length()]);
        Self { algorithm, hash }
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash itself.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.length()]
    }

    /// The hash in lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(self.algorithm.length() * 2);
        for byte in &self.hash[..self.algorithm.length()] {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// `algorithm-component (separator algorithm-component)*` of the image specification, upper case included as
/// the reference grammar of distribution has it.
fn is_algorithm_name(name: &str) -> bool {
    name.split(['+', '.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Digest::parse(text).expect_err(text).to_string();
        assert!(
            error.contains(expected),
            "input: {text}\nexpected: {expected}\ngot: {error}"
        );
    }

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert_eq!(Digest::parse(EMPTY).unwrap(), Digest::sha256(b""));
    }

    #[test]
    fn sha512_is_parsed_and_printed() {
        let text = Digest::of(Algorithm::Sha512, b"abc").to_string();
        assert!(
            text.starts_with("sha512:ddaf35a193617abacc417349ae204131"),
            "{text}"
        );
        assert_eq!(Digest::parse(&text).unwrap().to_string(), text);
    }

    #[test]
    fn malformed_digests_say_which_rule_they_break() {
        refused("", "no `:`");
        refused("sha256", "no `:`");
        refused("sha256:", "wrong length");
        refused(&EMPTY[..EMPTY.len() - 1], "wrong length");
        refused(&EMPTY.to_uppercase().replace("SHA", "sha"), "lower-case");
        refused(&format!("sha256:{}/", "../".repeat(21)), "lower-case");
        refused(
            "sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be0743",
            "algorithm `sha384`",
        );
        refused("../x:abc", "no algorithm name");
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_is_accepted_prints_as_it_came(text in "\\PC{0,140}") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.to_string(), text);
            }
        }

        #[test]
        fn no_mutated_digest_panics_and_what_is_accepted_prints_as_it_came(
            text in registry_mutation::mutated_text(&[EMPTY, "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e", "sha384:ab"])
        ) {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.to_string(), text);
            }
        }

        #[test]
        fn any_hash_survives_printing_and_parsing(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for algorithm in Algorithm::ALL {
                let digest = Digest::of(algorithm, &bytes);
                prop_assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
            }
        }
    }
}
