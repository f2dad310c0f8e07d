//! The size of an upload's parts.
//!
//! Object stores take 10,000 parts (Azure 50,000), each but the last of at least 5 MiB, and objects of up to 5 TiB. Parts of
//! equal size would need 525 MiB for that, and two parts are in memory at a time. So parts are small while an upload is small,
//! and grow with it: each part is a fixed share of the bytes before it.

/// The largest number of parts that a store takes.
#[cfg(test)]
const PARTS_MAX: usize = 10_000;

/// A part is at least this share of the bytes before it.
const SHARE: u64 = 1250;

/// Sizes are multiples of this.
const GRAIN: u64 = 64 * 1024;

/// The size of the first parts, when no other is configured. An upload holds in memory a part that is being filled, a part that
/// is being sent, and two received blocks: 15 MiB together, up to 8.5 GiB of upload.
pub(super) const PART: u64 = 7 * 1024 * 1024;

/// The size of the part that begins at an offset, when the first part has `base` bytes.
pub(super) fn part_size(base: u64, offset: u64) -> u64 {
    base.max((offset / SHARE).next_multiple_of(GRAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many parts an object has, and how large the largest is.
    fn cut(base: u64, size: u64) -> (usize, u64) {
        let (mut offset, mut parts, mut largest) = (0, 0, 0);
        while offset < size {
            let part = part_size(base, offset);
            largest = largest.max(part);
            offset += part;
            parts += 1;
        }
        (parts, largest)
    }

    #[test]
    fn five_tebibytes_fit_into_ten_thousand_parts_from_the_smallest_first_part_on() {
        for base in [5 << 20, PART, 10 << 20, 64 << 20, 5 << 30] {
            let (parts, largest) = cut(base, 5 << 40);
            println!("first part {base}: {parts} parts, the largest of {largest} bytes");
            assert!(parts <= PARTS_MAX, "{parts} parts from {base}");
            assert!(largest <= 5 << 30, "a part of {largest} bytes");
        }
    }

    #[test]
    fn parts_stay_small_as_long_as_an_upload_is() {
        assert_eq!(cut(PART, 8 << 30).1, PART);
        assert!(cut(PART, 100 << 30).1 < 90 << 20);
    }
}
