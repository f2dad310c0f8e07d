//! SHA-256 over a stream that may be interrupted and continued by another process.

use std::fmt;

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

use crate::{Algorithm, Digest, Error};

/// The length of a saved state in bytes.
pub const GO_STATE_LENGTH: usize = 108;

const MAGIC: &[u8; 4] = b"sha\x03";
const BLOCK: usize = 64;
/// SHA-256 counts bits in 64 bits (FIPS 180-4, section 5.1.1).
const LENGTH_LIMIT: u64 = 1 << 61;

/// A SHA-256 hash in progress.
///
/// Its state can be saved in the form that Go's `crypto/sha256` gives to `encoding.BinaryMarshaler`. Distribution keeps
/// this form below `hashstates/`, so that each server can continue an upload of the other.
///
/// ```
/// use registry_oci::{Digest, Hasher};
///
/// let mut hasher = Hasher::new();
/// hasher.update(b"hel");
/// let mut continued = Hasher::from_go_state(&hasher.to_go_state())?;
/// continued.update(b"lo");
/// assert_eq!(continued.digest(), Digest::sha256(b"hello"));
/// # Ok::<(), registry_oci::Error>(())
/// ```
#[derive(Clone)]
pub struct Hasher {
    hash: Sha256,
    length: u64,
}

/// Two hashes are equal when they have seen the same bytes, as far as SHA-256 tells.
impl PartialEq for Hasher {
    fn eq(&self, other: &Self) -> bool {
        self.to_go_state() == other.to_go_state()
    }
}

impl Eq for Hasher {}

impl Hasher {
    /// A hash of no bytes.
    pub fn new() -> Self {
        Self {
            hash: Sha256::new(),
            length: 0,
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// The number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all bytes so far.
    pub fn digest(&self) -> Digest {
        Digest::from_hash(Algorithm::Sha256, &self.hash.clone().finalize())
    }

    /// Saves the state: the magic `sha\x03`, eight big-endian words, the unfinished block padded with zeros,
    /// and the length as a big-endian number.
    pub fn to_go_state(&self) -> [u8; GO_STATE_LENGTH] {
        // sha2 0.11: eight little-endian words, the number of whole blocks (little-endian), then one byte that
        // says how much of the 63 bytes after it is filled. `states_written_by_go_are_continued` holds it to that.
        let own = self.hash.serialize();
        let mut state = [0; GO_STATE_LENGTH];
        state[..4].copy_from_slice(MAGIC);
        for (target, word) in state[4..36].chunks_exact_mut(4).zip(own[..32].chunks_exact(4)) {
            target.copy_from_slice(word);
            target.reverse();
        }
        let filled = (self.length % BLOCK as u64) as usize;
        state[36..36 + filled].copy_from_slice(&own[41..41 + filled]);
        state[100..].copy_from_slice(&self.length.to_be_bytes());
        state
    }

    /// Continues from a state saved by [`Hasher::to_go_state`] or by a Go program.
    ///
    /// # Errors
    /// [`Error::InvalidHashState`] when the bytes are not such a state.
    pub fn from_go_state(state: &[u8]) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidHashState { reason };
        let state: &[u8; GO_STATE_LENGTH] = state
            .try_into()
            .map_err(|_| invalid("it is not 108 bytes long"))?;
        if &state[..4] != MAGIC {
            return Err(invalid("it does not begin with the magic of SHA-256"));
        }
        let mut number = [0; 8];
        number.copy_from_slice(&state[100..]);
        let length = u64::from_be_bytes(number);
        if length >= LENGTH_LIMIT {
            return Err(invalid("its length is more than SHA-256 can count"));
        }
        let filled = (length % BLOCK as u64) as usize;
        let mut own = SerializedState::<Sha256>::default();
        for (target, word) in own[..32].chunks_exact_mut(4).zip(state[4..36].chunks_exact(4)) {
            target.copy_from_slice(word);
            target.reverse();
        }
        own[32..40].copy_from_slice(&(length / BLOCK as u64).to_le_bytes());
        own[40] = filled as u8;
        own[41..41 + filled].copy_from_slice(&state[36..36 + filled]);
        let hash = Sha256::deserialize(&own).map_err(|_| invalid("its block is malformed"))?;
        Ok(Self { hash, length })
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by Go 1.24 after `h := sha256.New(); h.Write(make([]byte, 100))`, with the byte `i` at index `i`.
    const GO_STATE_AFTER_100_BYTES: &str = "73686103fc99a2df88f42a7a7bb9d18033cdc6a20256755f9d5b9a5044a9cc315abe84a7404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60616263000000000000000000000000000000000000000000000000000000000000000000000064";

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks_exact(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn states_written_by_go_are_continued() {
        let input: Vec<u8> = (0..200).collect();
        let state = bytes(GO_STATE_AFTER_100_BYTES);
        let mut hasher = Hasher::from_go_state(&state).unwrap();
        assert_eq!(hasher.to_go_state().as_slice(), state);
        hasher.update(&input[100..]);
        assert_eq!(hasher.digest(), Digest::sha256(&input));
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let mut state = Hasher::new().to_go_state();
        assert!(Hasher::from_go_state(&state[1..]).is_err());
        state[0] = b'x';
        assert!(Hasher::from_go_state(&state).is_err());
    }

    proptest! {
        #[test]
        fn a_saved_state_continues_where_it_stopped(input in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let cut = cut.min(input.len());
            let mut first = Hasher::new();
            first.update(&input[..cut]);
            let mut second = Hasher::from_go_state(&first.to_go_state()).unwrap();
            prop_assert_eq!(second.length(), cut as u64);
            second.update(&input[cut..]);
            prop_assert_eq!(second.digest(), Digest::sha256(&input));
        }

        #[test]
        fn no_input_panics(state in proptest::collection::vec(any::<u8>(), 108)) {
            let mut state = state;
            state[..4].copy_from_slice(MAGIC);
            if let Ok(hasher) = Hasher::from_go_state(&state) {
                let _ = hasher.digest();
                let _ = hasher.to_go_state();

            }
        }

        #[test]
        fn no_mutated_state_panics(edits in proptest::collection::vec((0usize..108, any::<u8>()), 0..8), cut in 0usize..=108) {
            let mut hasher = Hasher::new();
            hasher.update(&[7; 100]);
            let mut state = hasher.to_go_state().to_vec();
            for (at, byte) in edits {
                state[at] = byte;
            }
            if let Ok(mut hasher) = Hasher::from_go_state(&state[..cut]) {
                hasher.update(&[1; 200]);
                let _ = hasher.digest();
            }
        }
    }
}
