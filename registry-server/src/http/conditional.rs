//! Conditional requests (RFC 9110, section 13). The entity tag of content is its digest in quotes.
//!
//! Parsed here and not by a library, because distribution accepts tags without quotes.

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderValue};
use registry_oci::Digest;

/// The `ETag` header of content.
pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether `If-None-Match` lists the tag of the content, or is `*`: the client has the content already. A digest
/// without quotes counts as well, as in distribution.
pub(super) fn is_not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| names(tag, digest))
}

/// Whether there is an `If-Match` that lists neither the tag of the content nor `*`. Weak tags do not count (RFC 9110,
/// section 13.1.1).
pub(super) fn precondition_fails(headers: &HeaderMap, digest: &Digest) -> bool {
    let mut asked = headers
        .get_all(IF_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .peekable();
    asked.peek().is_some() && !asked.any(|tag| !tag.trim().starts_with("W/") && names(tag, digest))
}

/// Whether a `Range` header applies. An `If-Range` with the tag of other content disables it. A date does so as well,
/// because content that is addressed by its digest has no modification time to compare with.
pub(super) fn range_applies(headers: &HeaderMap, digest: &Digest) -> bool {
    match headers.get(IF_RANGE).map(HeaderValue::to_str) {
        None => true,
        Some(Ok(tag)) => !tag.trim().starts_with("W/") && tag.trim() != "*" && names(tag, digest),
        Some(Err(_)) => false,
    }
}

fn names(tag: &str, digest: &Digest) -> bool {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag == "*" || tag.trim_matches('"') == digest.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_mutated_tag_panics(value in registry_mutation::mutated(&["\"sha256:ab\", W/\"x\"", "*", "Sun, 06 Nov 1994 08:49:37 GMT"])) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let digest = Digest::sha256(b"x");
                let headers = HeaderMap::from_iter([(IF_NONE_MATCH, value.clone()), (IF_RANGE, value)]);
                let _ = (is_not_modified(&headers, &digest), range_applies(&headers, &digest));
            }
        }
    }

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_listed_tag_means_that_the_client_has_it() {
        let (ours, other) = (Digest::sha256(b"x"), Digest::sha256(b"y"));
        for (value, expected) in [
            (format!("\"{ours}\""), true),
            (format!("W/\"{ours}\""), true),
            (ours.to_string(), true),
            (format!("\"{other}\", \"{ours}\""), true),
            ("*".to_owned(), true),
            (format!("\"{other}\""), false),
            (String::new(), false),
        ] {
            assert_eq!(
                is_not_modified(&headers(IF_NONE_MATCH, &value), &ours),
                expected,
                "{value}"
            );
        }
        assert!(!is_not_modified(&HeaderMap::new(), &ours));
    }

    #[test]
    fn content_that_is_not_listed_is_unwanted() {
        let ours = Digest::sha256(b"x");
        assert!(!precondition_fails(&HeaderMap::new(), &ours));
        for (value, expected) in [
            (etag(&ours), false),
            ("*".to_owned(), false),
            (format!("\"other\", {}", etag(&ours)), false),
            (format!("W/{}", etag(&ours)), true),
            ("\"other\"".to_owned(), true),
        ] {
            assert_eq!(
                precondition_fails(&headers(IF_MATCH, &value), &ours),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn a_range_counts_only_for_the_content_it_was_begun_with() {
        let ours = Digest::sha256(b"x");
        assert!(range_applies(&HeaderMap::new(), &ours));
        assert!(range_applies(&headers(IF_RANGE, &etag(&ours)), &ours));
        assert!(!range_applies(
            &headers(IF_RANGE, &etag(&Digest::sha256(b"y"))),
            &ours
        ));
        assert!(!range_applies(
            &headers(IF_RANGE, &format!("W/{}", etag(&ours))),
            &ours
        ));
        assert!(!range_applies(
            &headers(IF_RANGE, "Sat, 29 Oct 1994 19:43:31 GMT"),
            &ours
        ));
    }
}
