//! Objects as compressed JSON. Objects of one kind are much alike, so each is compressed with another one of its kind as
//! dictionary: what is left are names, versions and keys.
//!
//! Guarantees: what is unpacked is what was packed. Start at [`Packer`].

use std::sync::Arc;

use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// LZ4 looks back no farther.
const DICTIONARY: usize = 64 << 10;

/// Compresses objects of one kind, with the first of them as dictionary.
#[derive(Debug, Default)]
pub(super) struct Packer {
    dictionary: Option<Arc<[u8]>>,
}

/// A compressed object.
#[derive(Debug)]
pub(super) struct Packed {
    block: Box<[u8]>,
    /// The length of the object, in bytes.
    length: usize,
    dictionary: Arc<[u8]>,
}

impl Packer {
    pub(super) fn pack(&mut self, object: &[u8]) -> Packed {
        let first = || Arc::from(&object[..object.len().min(DICTIONARY)]);
        let dictionary = self.dictionary.get_or_insert_with(first);
        Packed {
            block: compress_with_dict(object, dictionary).into_boxed_slice(),
            length: object.len(),
            dictionary: Arc::clone(dictionary),
        }
    }
}

impl Packed {
    /// The object.
    pub(super) fn unpack(&self) -> Vec<u8> {
        // `pack` has made it from this length and dictionary.
        decompress_with_dict(&self.block, self.length, &self.dictionary).unwrap_or_default()
    }

    /// Bytes in memory.
    pub(super) fn size(&self) -> usize {
        self.block.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_is_what_was_packed_and_the_second_of_a_kind_is_small() {
        let mut packer = Packer::default();
        let object = |name: &str| {
            let fields: String = (0..200).map(|n| format!("\"field{n}\":\"value\",")).collect();
            format!("{{{fields}\"name\":\"{name}\"}}").into_bytes()
        };
        let all = [object("harbour"), object("pier"), Vec::new(), vec![7; 100_000]];
        let packed: Vec<Packed> = all.iter().map(|object| packer.pack(object)).collect();
        let unpacked: Vec<Vec<u8>> = packed.iter().map(Packed::unpack).collect();
        assert_eq!(unpacked, all);
        assert!(packed[1].size() * 20 < all[1].len(), "{} bytes", packed[1].size());
    }

    #[test]
    fn an_object_longer_than_a_dictionary_can_be_is_one_too() {
        let mut packer = Packer::default();
        let long: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let first = packer.pack(&long);
        let second = packer.pack(&long);
        assert_eq!(first.unpack(), long);
        assert_eq!(second.unpack(), long);
    }
}
