//! The access log: one line per request on standard output, in Apache's combined format, as distribution writes it.

use std::net::IpAddr;

use http::{HeaderMap, Method, Uri, Version, header};
use jiff::{Timestamp, tz::TimeZone};

use super::client_text::{self, sanitize};

/// The part of an access log line that is known when a request begins.
#[derive(Debug, Clone)]
pub struct AccessLogEntry {
    client: Option<IpAddr>,
    time: Timestamp,
    method: String,
    target: String,
    version: Version,
    referer: String,
    agent: String,
}

impl AccessLogEntry {
    /// The entry of a request that begins now.
    pub fn new(
        client: Option<IpAddr>,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Self {
        let text = |name, max_bytes| {
            let value = headers
                .get(name)
                .map(|value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()));
            value
                .map(|value| escaped(&sanitize(&value, max_bytes)))
                .unwrap_or_default()
        };
        Self {
            client,
            time: Timestamp::now(),
            method: sanitize(method.as_str(), client_text::METHOD).into_owned(),
            target: escaped(&target(uri, client_text::ACCESS_TARGET)),
            version,
            referer: text(header::REFERER, client_text::ACCESS_REFERER),
            agent: text(header::USER_AGENT, client_text::ACCESS_AGENT),
        }
    }

    /// The whole line, with the status and the number of bytes of the response.
    pub fn line(&self, status: u16, bytes: u64, user: Option<&str>) -> String {
        let client = self
            .client
            .map_or_else(|| "-".to_owned(), |address| address.to_string());
        let time = self.time.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S %z");
        let Self {
            method,
            target,
            version,
            referer,
            agent,
            ..
        } = self;
        let user = user
            .filter(|user| !user.is_empty())
            .map(|user| escaped(&sanitize(user, client_text::USER)));
        let user = user.as_deref().unwrap_or("-");
        format!(
            "{client} - {user} [{time}] \"{method} {target} {version:?}\" {status} {bytes} \"{referer}\" \"{agent}\"\n"
        )
    }
}

/// Path and query of a request, sanitized and cut to `max_bytes`.
pub(super) fn target(uri: &Uri, max_bytes: usize) -> String {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    sanitize(target, max_bytes).into_owned()
}

/// Escapes quotes, backslashes and control characters as Apache does, so that no client can forge a line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_apaches_combined_and_cannot_be_forged() {
        let headers: HeaderMap = [
            (
                header::USER_AGENT,
                header::HeaderValue::from_bytes(b"docker/20.10 \"x\" \\ \xff\t").unwrap(),
            ),
            (
                header::AUTHORIZATION,
                header::HeaderValue::from_static("Basic c2VjcmV0"),
            ),
        ]
        .into_iter()
        .collect();
        let uri = "/v2/a/blobs/uploads/1?_state=eyJ&digest=sha256:0"
            .parse()
            .unwrap();
        let mut entry = AccessLogEntry::new(
            Some([127, 0, 0, 1].into()),
            &Method::PUT,
            &uri,
            Version::HTTP_11,
            &headers,
        );
        entry.time = "2026-11-02T07:08:09.5Z".parse().unwrap();
        let line = entry.line(201, 0, Some("ann \"[\n"));
        assert_eq!(
            line,
            "127.0.0.1 - ann \\\"[\\x0a [02/Nov/2026:07:08:09 +0000] \
             \"PUT /v2/a/blobs/uploads/1?_state=&digest=sha256:0 HTTP/1.1\" 201 0 \"\" \
             \"docker/20.10 \\\"x\\\" \\\\ \u{fffd}\\x09\"\n"
        );
    }

    #[test]
    fn a_line_has_4_kib_of_a_clients_text_and_no_state_of_an_upload() {
        let long = "x".repeat(60_000);
        let headers: HeaderMap = [
            (header::USER_AGENT, format!("agent {long}").parse().unwrap()),
            (
                header::REFERER,
                format!("https://ui.example/?_State=secret&{long}")
                    .parse()
                    .unwrap(),
            ),
        ]
        .into_iter()
        .collect();
        let uri = format!("/v2/?%5Fstate=secret&{long}").parse().unwrap();
        let method = Method::from_bytes(&[b'M'; 5000]).unwrap();
        let entry = AccessLogEntry::new(None, &method, &uri, Version::HTTP_11, &headers);
        let line = entry.line(200, 0, Some(&long));
        let rest = " - -  [02/Nov/2026:07:08:09 +0000] \"  HTTP/1.1\" 200 0 \"\" \"\"\n".len();
        assert!(line.len() <= client_text::LINE_MAX + rest, "{} bytes", line.len());
        assert!(!line.contains("secret"), "{line}");
        assert!(line.contains("/v2/?%5Fstate=&xxx"), "{line}");
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_client_sends_is_one_line_with_its_quotes_in_place(
            target in "[!-~]{0,30}", agent: Vec<u8>, referer in "\\PC{0,20}", user: String, status in 100..600u16, bytes: u64,
        ) {
            let Ok(uri) = format!("/{target}").parse::<Uri>() else { return Ok(()) };
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::USER_AGENT, agent), (header::REFERER, referer.into_bytes())] {
                if let Ok(value) = header::HeaderValue::from_bytes(&value) {
                    headers.insert(name, value);
                }
            }
            let entry = AccessLogEntry::new(None, &Method::GET, &uri, Version::HTTP_11, &headers);
            let line = entry.line(status, bytes, Some(&user));
            proptest::prop_assert!(line.ends_with("\"\n"), "{:?}", line);
            proptest::prop_assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1, "{:?}", &line);
            // Only the three quoted fields may have quotes without a backslash. The user has none.
            let (mut quotes, mut escaped) = (0, false);
            for c in line.replacen(&super::escaped(&user), "", 1).chars() {
                quotes += usize::from(c == '"' && !escaped);
                escaped = c == '\\' && !escaped;
            }
            proptest::prop_assert_eq!(quotes, 6, "{:?}", line);
        }
    }
}
