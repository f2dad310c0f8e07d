//! Byte ranges: of answers (RFC 9110, section 14) and of upload chunks (OCI distribution 1.1, "Pushing a blob in
//! chunks").

use http::HeaderValue;

use crate::storage::ReadRange;

/// Reads a `Range` header. More than one range is answered with the whole, which a client must expect; what
/// breaks the grammar is a range that is nowhere, as in Go's `ServeContent`, which distribution answers with. An
/// empty header asks for nothing, and an empty element of the list is none (RFC 9110, section 5.6.1).
pub(super) fn parse(value: &HeaderValue) -> ReadRange {
    let Ok(text) = value.to_str() else {
        return NOWHERE;
    };
    let text = text.trim();
    if text.is_empty() {
        return ReadRange::Full;
    }
    let Some(list) = text.strip_prefix("bytes=") else {
        return NOWHERE;
    };
    let mut ranges = list.split(',').map(str::trim).filter(|range| !range.is_empty());
    match (ranges.next(), ranges.next()) {
        (Some(range), None) => one(range).unwrap_or(NOWHERE),
        (_, _) => ReadRange::Full,
    }
}

/// Behind the end of every object.
const NOWHERE: ReadRange = ReadRange::From(u64::MAX);

fn one(text: &str) -> Option<ReadRange> {
    let (first, last) = text.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(ReadRange::Last),
        (first, "") => number(first).map(ReadRange::From),
        (first, last) => Some(ReadRange::Between(number(first)?, number(last)?)),
    }
}

/// A chunk's place in an upload, from its `Content-Range`: `<first>-<last>` without a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRange {
    /// Where it begins.
    pub(super) start: u64,
    /// How many bytes it has.
    pub(super) length: u64,
}

impl ChunkRange {
    /// Reads the header; `None` when it breaks the grammar.
    pub(super) fn parse(value: &HeaderValue) -> Option<Self> {
        let (first, last) = value.to_str().ok()?.trim().split_once('-')?;
        let (start, last) = (number(first)?, number(last)?);
        let length = last.checked_sub(start)?.checked_add(1)?;
        Some(Self { start, length })
    }
}

/// The `Range` of an upload's answers. Zero bytes and one byte look the same: the form has no way to say
/// "nothing", and clients know `0-0` from distribution.
pub(super) fn of_upload(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What does not fit is behind every end.
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_is_read_several_mean_the_whole_and_a_broken_one_is_nowhere() {
        for (text, expected) in [
            ("bytes=0-0", ReadRange::Between(0, 0)),
            ("bytes=5-", ReadRange::From(5)),
            ("bytes=-5", ReadRange::Last(5)),
            ("bytes=2-9", ReadRange::Between(2, 9)),
            ("bytes=500-0", ReadRange::Between(500, 0)),
            ("bytes=99999999999999999999-", ReadRange::From(u64::MAX)),
            ("bytes=0-1,3-4", ReadRange::Full),
            ("bytes=0-1,", ReadRange::Between(0, 1)),
            ("", ReadRange::Full),
            ("bytes=a-b", NOWHERE),
            ("bytes=-", NOWHERE),
            ("bytes=", ReadRange::Full),
            ("lines=0-1", NOWHERE),
            ("bytes=+1-2", NOWHERE),
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), expected, "{text}");
        }
        assert_eq!(NOWHERE.resolve(u64::MAX), None);
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
                let range = parse(&value);
                if let Some(resolved) = range.resolve(1000) {
                    prop_assert!(resolved.end <= 1000, "{:?}", resolved);
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
