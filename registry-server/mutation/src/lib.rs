//! Test inputs that are almost valid: valid texts with a few changes.
//!
//! Random text seldom gets past the first check of a parser; a valid text with a byte flipped, a piece doubled or a piece of
//! another text put in gets deep into it. The property tests of all parsers use this, with a few hundred inputs in every
//! run and with as many as `PROPTEST_CASES` says in the long one (`cargo xtask soak`). Shrinks to few changes.
//! Start at [`mutated`].

use proptest::collection::vec;
use proptest::prelude::*;

/// How many changes one input has at most.
const EDITS_MAX: usize = 6;
/// How often a piece is repeated at most: enough to pass every limit of length that a parser has.
const REPEATS_MAX: usize = 300;

/// Bytes that often break parsers: ends, escapes, separators, extremes.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\"",
    b"'",
    b"\\",
    b"%",
    b"%00",
    b"%2f",
    b"%2e%2e",
    b"..",
    b"/",
    b"//",
    b":",
    b";",
    b",",
    b"=",
    b"-",
    b"@",
    b"#",
    b"&",
    b"*",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[]",
    b"null",
    b"true",
    b"1e999",
    b"-1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"\xff",
    b"\xc3",
    "\u{e9}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{1f600}".as_bytes(),
];

/// Places are given in this many parts of the text's length at the moment of the change.
const WHOLE: usize = 1000;

/// One change.
#[derive(Debug, Clone)]
enum Edit {
    Replace(usize, u8),
    Delete(usize, usize),
    Insert(usize, usize),
    Repeat(usize, usize, usize),
    /// A piece of another seed.
    Splice(usize, prop::sample::Index, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = || 0..=WHOLE;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (place(), 1usize..16).prop_map(|(at, length)| Edit::Delete(at, length)),
        (place(), 0..TOKENS.len()).prop_map(|(at, token)| Edit::Insert(at, token)),
        (place(), 1usize..8, 2..REPEATS_MAX).prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        (place(), any::<prop::sample::Index>(), place(), 1usize..32)
            .prop_map(|(at, seed, from, length)| Edit::Splice(at, seed, from, length)),
    ]
}

/// One of the seeds with up to six changes. The result may be no UTF-8.
pub fn mutated(seeds: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (0..seeds.len(), vec(edit(), 0..=EDITS_MAX)).prop_map(move |(seed, edits)| {
        let mut text = seeds[seed].as_bytes().to_vec();
        for edit in edits {
            apply(&mut text, &edit, seeds);
        }
        text
    })
}

/// The same as text; invalid UTF-8 is replaced.
pub fn mutated_text(seeds: &'static [&'static str]) -> impl Strategy<Value = String> {
    mutated(seeds).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn apply(text: &mut Vec<u8>, edit: &Edit, seeds: &[&str]) {
    match *edit {
        Edit::Replace(at, byte) => {
            let at = place(text, at);
            if let Some(there) = text.get_mut(at) {
                *there = byte;
            }
        }
        Edit::Delete(at, length) => {
            let piece = piece(text, at, length);
            text.drain(piece);
        }
        Edit::Insert(at, token) => {
            let at = place(text, at);
            text.splice(at..at, TOKENS[token].iter().copied());
        }
        Edit::Repeat(at, length, times) => {
            let piece = piece(text, at, length);
            let repeated = text[piece.clone()].repeat(times);
            text.splice(piece, repeated);
        }
        Edit::Splice(at, ref seed, from, length) => {
            let other = seed.get(seeds).as_bytes();
            let at = place(text, at);
            text.splice(at..at, other[piece(other, from, length)].iter().copied());
        }
    }
}

/// A place in a text, its end included.
fn place(text: &[u8], at: usize) -> usize {
    text.len() * at / WHOLE
}

fn piece(text: &[u8], at: usize, length: usize) -> std::ops::Range<usize> {
    let start = place(text, at);
    start..(start + length).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_do_what_they_say() {
        let seeds = ["abcdef", "XYZ"];
        for (edit, expected) in [
            (Edit::Replace(500, b'!'), "abc!ef"),
            (Edit::Replace(WHOLE, b'!'), "abcdef"),
            (Edit::Delete(500, 2), "abcf"),
            (Edit::Delete(500, 99), "abc"),
            (Edit::Insert(WHOLE, 4), "abcdef "),
            (Edit::Repeat(0, 2, 3), "abababcdef"),
        ] {
            let mut text = seeds[0].as_bytes().to_vec();
            apply(&mut text, &edit, &seeds);
            assert_eq!(String::from_utf8_lossy(&text), expected, "{edit:?}");
        }
    }

    proptest! {
        #[test]
        fn any_list_of_edits_can_be_applied(text in mutated(&["", "a", "abcdef"]), index: prop::sample::Index) {
            let mut text = text;
            apply(&mut text, &Edit::Splice(WHOLE, index, 0, 32), &["", "piece"]);
            prop_assert!(text.len() <= 64 + EDITS_MAX * 8 * REPEATS_MAX);
        }
    }
}
