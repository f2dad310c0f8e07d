//! What clients send, as it may stand in a log.
//!
//! Guarantees: the state of an upload, whose holder can go on with it, is left out however its name is spelt and
//! wherever it stands; of one client's text a line has 4 KiB at most ([`LINE_MAX`]), so that nobody fills a disk with
//! long headers.
//! Must not: escape; each form of line has its own rules for that. Start at [`shown`].

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// How many bytes of a client's text one line has, all its fields together.
#[cfg(test)]
pub(super) const LINE_MAX: usize = 4096;

/// The parts of it. Each line has either those of the access log, or those of a request and of an event.
pub(super) const ACCESS_TARGET: usize = 2048;
pub(super) const ACCESS_REFERER: usize = 1024;
pub(super) const ACCESS_AGENT: usize = 512;
pub(super) const USER: usize = 256;
pub(super) const METHOD: usize = 32;
pub(super) const REQUEST_URI: usize = 1024;
/// Host, user agent, referer and content type.
pub(super) const REQUEST_HEADER: usize = 224;
/// Message and fields of an event: what failed often quotes what was sent.
pub(super) const EVENT: usize = 2048;

/// A name spelt `_state` in any letters, each of them percent-encoded any number of times or not, and its value.
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

/// A client's text without the state of uploads, and of at most so many bytes.
pub(super) fn shown(text: &str, most: usize) -> Cow<'_, str> {
    // Twice as much is looked at as is shown: masking makes a text shorter, and whoever sends 64 KiB waits for nothing.
    let (head, cut) = within(text, most * 2);
    let masked = without_state(head);
    let (kept, cut_again) = within(&masked, most);
    if !cut && !cut_again {
        return masked;
    }
    // How long it was is worth knowing, and the end of the text is not.
    let note = format!("…({} bytes)", text.len());
    let (kept, _) = within(kept, most.saturating_sub(note.len()));
    format!("{kept}{note}").into()
}

/// The text with the values of `_state` left out.
fn without_state(text: &str) -> Cow<'_, str> {
    match text.contains(['_', '%']) {
        true => STATE.replace_all(text, "$1"),
        false => text.into(),
    }
}

/// As much of the text as fits into so many bytes, and whether that is less than all.
fn within(text: &str, most: usize) -> (&str, bool) {
    let end = text.floor_char_boundary(most.min(text.len()));
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
            assert_eq!(shown(given, 1000), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_how_long_it_was() {
        assert_eq!(shown("12345678901234567890", 20), "12345678901234567890");
        assert_eq!(shown("123456789012345678901", 20), "1234567…(21 bytes)");
        // Nothing of a state shows because the text was cut inside its name.
        let long = format!("{}_state=secret", "x".repeat(30));
        assert!(!shown(&long, 36).contains("secret"), "{}", shown(&long, 36));
        assert_eq!(shown(&"\u{1f600}".repeat(10), 20).len(), 17);
    }

    #[test]
    fn the_parts_of_a_line_are_4_kib_together() {
        const { assert!(ACCESS_TARGET + ACCESS_REFERER + ACCESS_AGENT + USER + METHOD <= LINE_MAX) };
        const { assert!(METHOD + REQUEST_URI + 4 * REQUEST_HEADER + EVENT <= LINE_MAX) };
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_longer_than_it_may_be(text: String, most in 24..200_usize) {
            proptest::prop_assert!(shown(&text, most).len() <= most.max(text.len().min(most)));
        }
    }
}
