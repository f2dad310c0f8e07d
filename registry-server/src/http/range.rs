//! Byte ranges of responses (RFC 9110, section 14) and of upload chunks (OCI distribution 1.1, "Pushing a blob in
//! chunks").
//!
//! Parsed here and not by a library, because distribution and Go read some headers more leniently than the RFC does,
//! and clients rely on it.

use std::ops::Range;

use http::HeaderValue;

use crate::storage::ReadRange;

/// The most ranges of one request. A partial pull of a large layer requests hundreds. The response to more is the whole
/// content (RFC 9110, section 14.2).
pub(super) const RANGES_MAX: usize = 1024;

/// The ranges that a `Range` header requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestedRanges {
    /// One part, or the whole content.
    One(ReadRange),
    /// Several parts, in the order of the header.
    Several(Vec<ReadRange>),
}

/// The parts that are sent of content whose size is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SelectedRanges {
    /// The whole content, because the parts together are larger than it.
    Whole,
    /// One part. The others lie behind the end.
    One(Range<u64>),
    /// Several parts.
    Several(Vec<Range<u64>>),
    /// No part. All of them lie behind the end.
    Nothing,
}

/// Parses a `Range` header. A header that breaks the grammar requests an unsatisfiable range, as in Go's
/// `ServeContent`, which distribution uses. An empty header requests no range, and an empty element of the list does
/// not count (RFC 9110, section 5.6.1).
pub(super) fn parse(value: &HeaderValue) -> RequestedRanges {
    let Ok(text) = value.to_str() else {
        return RequestedRanges::One(UNSATISFIABLE);
    };
    let text = text.trim();
    if text.is_empty() {
        return RequestedRanges::One(ReadRange::Full);
    }
    let Some(list) = text.strip_prefix("bytes=") else {
        return RequestedRanges::One(UNSATISFIABLE);
    };
    let elements = list.split(',').map(str::trim).filter(|range| !range.is_empty());
    let ranges: Option<Vec<ReadRange>> = elements.take(RANGES_MAX + 1).map(one).collect();
    match ranges.as_deref() {
        None => RequestedRanges::One(UNSATISFIABLE),
        Some([]) => RequestedRanges::One(ReadRange::Full),
        Some([range]) => RequestedRanges::One(*range),
        Some(ranges) if ranges.len() > RANGES_MAX => RequestedRanges::One(ReadRange::Full),
        Some(ranges) => RequestedRanges::Several(ranges.to_vec()),
    }
}

/// Selects the parts that content of `size` bytes has, as Go's `ServeContent` does. Parts behind the end are left out.
/// A part that ends before it begins makes the whole header unsatisfiable.
pub(super) fn select(ranges: &[ReadRange], size: u64) -> SelectedRanges {
    let mut found = Vec::with_capacity(ranges.len());
    let mut sum = 0_u128;
    for range in ranges {
        match range {
            ReadRange::Between(first, last) if *first < size && first > last => {
                return SelectedRanges::Nothing;
            }
            _ => {}
        }
        if let Some(part) = range.resolve(size) {
            sum += u128::from(part.end - part.start);
            found.push(part);
        }
    }
    match found.len() {
        0 => SelectedRanges::Nothing,
        _ if sum > u128::from(size) => SelectedRanges::Whole,
        1 => SelectedRanges::One(found.remove(0)),
        _ => SelectedRanges::Several(found),
    }
}

/// A range behind the end of all content.
const UNSATISFIABLE: ReadRange = ReadRange::From(u64::MAX);

fn one(text: &str) -> Option<ReadRange> {
    let (first, last) = text.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(ReadRange::Last),
        (first, "") => number(first).map(ReadRange::From),
        (first, last) => Some(ReadRange::Between(number(first)?, number(last)?)),
    }
}

/// The range of a chunk in an upload, from its `Content-Range`: `<first>-<last>` without a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRange {
    /// The offset of its first byte.
    pub(super) start: u64,
    /// Its length in bytes.
    pub(super) length: u64,
}

impl ChunkRange {
    /// Parses the header. `None` when it breaks the grammar.
    pub(super) fn parse(value: &HeaderValue) -> Option<Self> {
        let (first, last) = value.to_str().ok()?.trim().split_once('-')?;
        let (start, last) = (number(first)?, number(last)?);
        let length = last.checked_sub(start)?.checked_add(1)?;
        Some(Self { start, length })
    }
}

/// The `Range` header of a response about an upload. Zero bytes and one byte look the same: the form has no way to
/// express "no bytes", and clients know `0-0` from distribution.
pub(super) fn of_upload(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number that is too large lies behind every end.
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_is_read_several_are_a_list_and_a_broken_one_is_nowhere() {
        use ReadRange::{Between, From, Full, Last};
        use RequestedRanges::{One, Several};
        for (text, expected) in [
            ("bytes=0-0", One(Between(0, 0))),
            ("bytes=5-", One(From(5))),
            ("bytes=-5", One(Last(5))),
            ("bytes=2-9", One(Between(2, 9))),
            ("bytes=500-0", One(Between(500, 0))),
            ("bytes=99999999999999999999-", One(From(u64::MAX))),
            ("bytes=0-1,3-4", Several(vec![Between(0, 1), Between(3, 4)])),
            (
                "bytes=0-1 , -4,9-",
                Several(vec![Between(0, 1), Last(4), From(9)]),
            ),
            ("bytes=0-1,", One(Between(0, 1))),
            ("", One(Full)),
            ("bytes=a-b", One(UNSATISFIABLE)),
            ("bytes=0-1,a-b", One(UNSATISFIABLE)),
            ("bytes=-", One(UNSATISFIABLE)),
            ("bytes=", One(Full)),
            ("bytes=,,", One(Full)),
            ("lines=0-1", One(UNSATISFIABLE)),
            ("bytes=+1-2", One(UNSATISFIABLE)),
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), expected, "{text}");
        }
        assert_eq!(UNSATISFIABLE.resolve(u64::MAX), None);
    }

    #[test]
    fn so_many_ranges_are_read_and_more_mean_the_whole() {
        let list = |count: usize| {
            let ranges: Vec<String> = (0..count)
                .map(|at| format!("{}-{}", at * 10, at * 10 + 1))
                .collect();
            parse(&HeaderValue::from_str(&format!("bytes={}", ranges.join(","))).unwrap())
        };
        assert!(matches!(list(RANGES_MAX), RequestedRanges::Several(ranges) if ranges.len() == RANGES_MAX));
        assert_eq!(list(RANGES_MAX + 1), RequestedRanges::One(ReadRange::Full));
    }

    #[test]
    fn parts_behind_the_end_are_left_out_and_too_many_bytes_mean_the_whole() {
        let select = |text: &str, size: u64| match parse(&HeaderValue::from_str(text).unwrap()) {
            RequestedRanges::Several(ranges) => select(&ranges, size),
            RequestedRanges::One(_) => panic!("{text} is one range"),
        };
        assert_eq!(
            select("bytes=0-1,3-4", 10),
            SelectedRanges::Several(vec![0..2, 3..5])
        );
        assert_eq!(
            select("bytes=3-4,0-1", 10),
            SelectedRanges::Several(vec![3..5, 0..2])
        );
        assert_eq!(
            select("bytes=0-1,0-1", 10),
            SelectedRanges::Several(vec![0..2, 0..2])
        );
        assert_eq!(
            select("bytes=8-99,-1", 10),
            SelectedRanges::Several(vec![8..10, 9..10])
        );
        assert_eq!(select("bytes=0-1,30-40", 10), SelectedRanges::One(0..2));
        assert_eq!(select("bytes=0-1,-0", 10), SelectedRanges::One(0..2));
        assert_eq!(select("bytes=30-31,40-", 10), SelectedRanges::Nothing);
        assert_eq!(select("bytes=0-1,5-3", 10), SelectedRanges::Nothing);
        assert_eq!(select("bytes=0-1,50-3", 10), SelectedRanges::One(0..2));
        assert_eq!(
            select("bytes=0-4,5-9", 10),
            SelectedRanges::Several(vec![0..5, 5..10])
        );
        assert_eq!(select("bytes=0-4,4-9", 10), SelectedRanges::Whole);
        assert_eq!(select("bytes=0-,0-", u64::MAX), SelectedRanges::Whole);
        assert_eq!(select("bytes=0-1,-1", 0), SelectedRanges::Nothing);
    }

    #[test]
    fn chunk_ranges_have_no_unit_and_include_their_end() {
        for (text, expected) in [
            ("0-0", Some((0, 1))),
            ("10-19", Some((10, 10))),
            ("19-10", None),
            ("bytes 0-1/2", None),
            ("0", None),
            ("-1", None),
            ("0--1", None),
            ("0-18446744073709551615", None),
        ] {
            let parsed = ChunkRange::parse(&HeaderValue::from_static(text));
            assert_eq!(
                parsed.map(|range| (range.start, range.length)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn an_empty_upload_and_one_of_one_byte_look_the_same() {
        assert_eq!(of_upload(0), "0-0");
        assert_eq!(of_upload(1), "0-0");
        assert_eq!(of_upload(1024), "0-1023");
    }

    proptest! {
        #[test]
        fn no_mutated_range_panics(bytes in registry_mutation::mutated(&["bytes=0-99", "bytes=-5", "bytes=5-", "bytes=0-1,3-4", "0-1023"])) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let selected = match parse(&value) {
                    RequestedRanges::One(range) => range.resolve(1000).into_iter().collect(),
                    RequestedRanges::Several(ranges) => match select(&ranges, 1000) {
                        SelectedRanges::Several(parts) => parts,
                        SelectedRanges::One(part) => vec![part],
                        SelectedRanges::Whole | SelectedRanges::Nothing => Vec::new(),
                    },
                };
                for part in selected {
                    prop_assert!(part.start < part.end && part.end <= 1000, "{:?}", part);
                }
                if let Some(chunk) = ChunkRange::parse(&value) {
                    prop_assert!(chunk.length > 0 && chunk.start.checked_add(chunk.length - 1).is_some());
                }
            }
        }

        #[test]
        fn no_input_panics(text in "[ -~]{0,40}|bytes=[0-9-]{0,40}|[0-9-]{0,40}") {
            let value = HeaderValue::from_str(&text).unwrap();
            let _ = (parse(&value), ChunkRange::parse(&value));
        }
    }
}
