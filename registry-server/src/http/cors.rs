//! The configured headers (`http.headers`), and cross-origin requests of browsers (the Fetch standard, "CORS
//! protocol").
//!
//! Guarantees: every response carries the configured headers, errors as well, so that a page can read them; a preflight
//! needs no login, because browsers send none with it; when several origins are allowed, a response names the one that
//! sent the request, because browsers accept only one.
//! Must not: allow an origin that is not configured.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The headers of every response.
#[derive(Debug)]
pub(super) struct ConfiguredHeaders {
    /// The headers that are the same on every response.
    fixed: Vec<(HeaderName, HeaderValue)>,
    /// The allowed origins, if there are several.
    origins: Vec<String>,
    is_cross_origin: bool,
}

impl ConfiguredHeaders {
    /// Separates several allowed origins from the other headers.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let origins: Vec<String> = headers
            .get_all(ACCESS_CONTROL_ALLOW_ORIGIN)
            .iter()
            .filter_map(|value| value.to_str().ok())
            // An origin has neither commas nor spaces, and people separate lists with both.
            .flat_map(|value| value.split([',', ' ']))
            .filter(|origin| !origin.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        let is_listed = origins.len() > 1;
        let fixed = headers
            .iter()
            .filter(|(name, _)| !(is_listed && **name == ACCESS_CONTROL_ALLOW_ORIGIN))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Self {
            fixed,
            is_cross_origin: !origins.is_empty(),
            origins: if is_listed { origins } else { Vec::new() },
        }
    }

    /// Whether a request is a preflight: a browser asks whether a page of another origin may send its request. Always
    /// `false` when no other origin is allowed.
    pub(super) fn is_preflight(&self, parts: &Parts) -> bool {
        self.is_cross_origin
            && parts.method == Method::OPTIONS
            && parts.headers.contains_key(ORIGIN)
            && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Adds the headers to a response to a request from `origin`.
    pub(super) fn add(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for (name, value) in &self.fixed {
            // A header that the response has already is not repeated.
            if headers.get(name) != Some(value) {
                headers.append(name, value.clone());
            }
        }
        if self.origins.is_empty() {
            return;
        }
        // A cache must not give a response to one origin to another one, nor a response to a request without an origin.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) {
            headers.append(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
    }

    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let text = origin.to_str().ok()?;
        // A slash behind the host is a common mistake. It is no part of an origin.
        let is_named = |allowed: &String| allowed.trim_end_matches('/').eq_ignore_ascii_case(text);
        if self.origins.iter().any(is_named) {
            return Some(origin.clone());
        }
        let any = self.origins.iter().any(|allowed| allowed == "*");
        any.then(|| HeaderValue::from_static("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(configured: &[&'static str], origin: Option<&'static str>) -> (Vec<String>, Vec<String>) {
        let headers = configured
            .iter()
            .map(|value| (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static(value)))
            .collect();
        let mut answer = HeaderMap::new();
        ConfiguredHeaders::new(&headers).add(origin.map(HeaderValue::from_static).as_ref(), &mut answer);
        let all = |name| {
            let values = answer.get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        (all(ACCESS_CONTROL_ALLOW_ORIGIN), all(VARY))
    }

    #[test]
    fn of_several_origins_the_one_that_asked_is_named_and_caches_are_told() {
        let both = &["https://one.example", "https://two.example/"][..];
        let list = &["https://one.example, https://two.example"][..];
        for configured in [both, list] {
            for (origin, named) in [
                (Some("https://one.example"), Some("https://one.example")),
                (Some("https://two.example"), Some("https://two.example")),
                (Some("https://three.example"), None),
                (Some("null"), None),
                (None, None),
            ] {
                let named: Vec<String> = named.into_iter().map(ToOwned::to_owned).collect();
                assert_eq!(
                    answer(configured, origin),
                    (named, vec!["Origin".to_owned()]),
                    "{origin:?}"
                );
            }
        }
        let (named, _) = answer(&["https://one.example", "*"], Some("https://three.example"));
        assert_eq!(named, ["*"]);
    }

    #[test]
    fn one_origin_is_said_as_it_is_configured() {
        for configured in ["*", "https://one.example"] {
            for origin in [None, Some("https://three.example")] {
                assert_eq!(
                    answer(&[configured], origin),
                    (vec![configured.to_owned()], vec![])
                );
            }
        }
        assert_eq!(answer(&[], Some("https://one.example")), (vec![], vec![]));
    }
}
