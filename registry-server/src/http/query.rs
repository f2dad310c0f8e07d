//! Query strings. They are read as HTML forms are. They are written with percent encoding alone, so that a digest in a
//! `Link` stays readable, which `form_urlencoded` does not do.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters that are written as they are: RFC 3986's unreserved characters, and those of a digest.
const UNENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// A parsed query string: decoded pairs in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses a query string. Bytes that are not UTF-8 become replacement characters, which match nothing.
    pub(super) fn parse(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes());
        Self {
            pairs: pairs.into_owned().collect(),
        }
    }

    /// The first value with a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value with a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The query as text, with some names set and all other pairs kept.
    pub(super) fn with(&self, set: &[(&str, &str)]) -> String {
        let kept = self
            .pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| set.iter().all(|(other, _)| other != name));
        let mut text = String::new();
        for (name, value) in kept.chain(set.iter().copied()) {
            let separator = if text.is_empty() { "" } else { "&" };
            write!(text, "{separator}{}={}", encode(name), encode(value))
                .expect("writing to a string cannot fail");
        }
        text
    }
}

/// Encodes a value for a query string.
pub(super) fn encode(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, UNENCODED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded_and_the_first_wins() {
        let query = Query::parse(Some("digest=sha256%3Aab&n=5&n=6&empty&plus=a+b&=x&&bad=%ff%2"));
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(query.get("n"), Some("5"));
        assert_eq!(query.all("n").collect::<Vec<_>>(), ["5", "6"]);
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("plus"), Some("a b"));
        assert_eq!(query.get("bad"), Some("\u{fffd}%2"));
        assert_eq!(query.get("none"), None);
    }

    #[test]
    fn setting_names_keeps_the_others() {
        let query = Query::parse(Some("ns=docker.io&n=5&last=a"));
        assert_eq!(
            query.with(&[("last", "b/c d"), ("n", "5")]),
            "ns=docker.io&last=b%2Fc%20d&n=5"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in "\\PC{0,30}") {
            let text = Query::default().with(&[("last", &value)]);
            let parsed = Query::parse(Some(&text));
            prop_assert_eq!(parsed.get("last"), Some(value.as_str()));
        }

        #[test]
        fn no_mutated_query_panics(text in registry_mutation::mutated_text(&["n=10&last=a%2Fb", "digest=sha256%3Aab&_state=abc==", "mount=&from=a/b&tag=x&tag=y"])) {
            let _ = Query::parse(Some(&text)).get("n");
        }

        #[test]
        fn no_input_panics(text in "\\PC{0,60}|[%a-f0-9&=+]{0,40}") {
            let _ = Query::parse(Some(&text));
        }
    }
}
