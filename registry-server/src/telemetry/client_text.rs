//! Text that clients send, made fit for a log.
//!
//! Guarantees: the value of `_state` is left out, however its name is spelt and wherever it stands: whoever has it can
//! continue the upload. A line has at most 4 KiB of a client's text (`LINE_MAX`), so that long headers cannot fill a disk.
//! Must not: escape; each log format has its own rules for that. Start at [`sanitize`].

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// The limit for the bytes of a client's text in one line, all fields together.
#[cfg(test)]
pub(super) const LINE_MAX: usize = 4096;

// The shares of that limit. A line has either the shares of the access log, or those of a request and of an event.

pub(super) const ACCESS_TARGET: usize = 2048;
pub(super) const ACCESS_REFERER: usize = 1024;
pub(super) const ACCESS_AGENT: usize = 512;
pub(super) const USER: usize = 256;
pub(super) const METHOD: usize = 32;
pub(super) const REQUEST_URI: usize = 1024;
/// Host, user agent, referer and content type.
pub(super) const REQUEST_HEADER: usize = 224;
/// Message and fields of an event. An error often quotes what a client sent.
pub(super) const EVENT: usize = 2048;

/// The parameter `_state` with its value: in upper or lower case, each letter plain or percent-encoded any number of times.
static STATE: LazyLock<Regex> = LazyLock::new(|| {
    let letters = [
        ("_", "5f"),
        ("s", "[57]3"),
        ("t", "[57]4"),
        ("a", "[46]1"),
        ("t", "[57]4"),
        ("e", "[46]5"),
    ];
    let name: String = letters
        .iter()
        .map(|(letter, code)| format!("(?:{letter}|%(?:25)*{code})"))
        .collect();
    let pattern = format!("(?i)({name}(?:[ +]|%(?:25)*(?:20|09))*(?:=|%(?:25)*3d))[^&#;\\s\"]*");
    Regex::new(&pattern).expect("the pattern is written here")
});

/// Removes the state of uploads from a client's text, and cuts the text to `max_bytes`.
pub(super) fn sanitize(text: &str, max_bytes: usize) -> Cow<'_, str> {
    // Removing the state makes a text shorter, so twice the limit is read. Not all of it: a text may have 64 KiB.
    let (head, cut) = cut_to(text, max_bytes * 2);
    let masked = without_state(head);
    let (kept, still_too_long) = cut_to(&masked, max_bytes);
    if !cut && !still_too_long {
        return masked;
    }
    // The length of the whole text is worth more than its end.
    let note = format!("…({} bytes)", text.len());
    let (kept, _) = cut_to(kept, max_bytes.saturating_sub(note.len()));
    format!("{kept}{note}").into()
}

/// The text without the values of `_state`.
fn without_state(text: &str) -> Cow<'_, str> {
    match text.contains(['_', '%']) {
        true => STATE.replace_all(text, "$1"),
        false => text.into(),
    }
}

/// The beginning of a text that fits into `max_bytes`, and whether anything was cut off.
fn cut_to(text: &str, max_bytes: usize) -> (&str, bool) {
    let end = text.floor_char_boundary(max_bytes.min(text.len()));
    (&text[..end], end < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_state_is_left_out_however_it_is_spelt() {
        for (given, expected) in [
            (
                "/v2/a/blobs/uploads/1?_state=eyJ&digest=sha256:0",
                "/v2/a/blobs/uploads/1?_state=&digest=sha256:0",
            ),
            ("/v2/?_State=eyJ", "/v2/?_State="),
            ("/v2/?%5Fstate=eyJ", "/v2/?%5Fstate="),
            ("/v2/?%5fst%61te=eyJ&n=1", "/v2/?%5fst%61te=&n=1"),
            ("/v2/?%255F%73%2574ate=eyJ", "/v2/?%255F%73%2574ate="),
            ("/v2/?_state%3DeyJ", "/v2/?_state%3D"),
            ("/v2/?_state+=eyJ", "/v2/?_state+="),
            (
                "https://ui.example/?next=%2Fv2%2Fa%3F_state%3DeyJ&b",
                "https://ui.example/?next=%2Fv2%2Fa%3F_state%3D&b",
            ),
            ("/v2/?n=1;_STATE=eyJ;last=b", "/v2/?n=1;_STATE=;last=b"),
            ("/v2/?_state=eyJ&_state=eyK", "/v2/?_state=&_state="),
            ("/v2/_state/tags/list?state=1", "/v2/_state/tags/list?state=1"),
        ] {
            assert_eq!(sanitize(given, 1000), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_how_long_it_was() {
        assert_eq!(sanitize("12345678901234567890", 20), "12345678901234567890");
        assert_eq!(sanitize("123456789012345678901", 20), "1234567…(21 bytes)");
        // A cut inside the name `_state` does not show its value.
        let long = format!("{}_state=secret", "x".repeat(30));
        assert!(!sanitize(&long, 36).contains("secret"), "{}", sanitize(&long, 36));
        assert_eq!(sanitize(&"\u{1f600}".repeat(10), 20).len(), 17);
    }

    #[test]
    fn the_parts_of_a_line_are_4_kib_together() {
        const { assert!(ACCESS_TARGET + ACCESS_REFERER + ACCESS_AGENT + USER + METHOD <= LINE_MAX) };
        const { assert!(METHOD + REQUEST_URI + 4 * REQUEST_HEADER + EVENT <= LINE_MAX) };
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_longer_than_it_may_be(text: String, most in 24..200_usize) {
            proptest::prop_assert!(sanitize(&text, most).len() <= most.max(text.len().min(most)));
        }
    }
}
