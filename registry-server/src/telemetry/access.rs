//! The access log: one line per request on standard output, in Apache's combined format, as distribution writes it.

use std::net::IpAddr;

use http::{HeaderMap, Method, Uri, Version, header};
use jiff::{Timestamp, tz::TimeZone};

/// What a request's line says of the request.
#[derive(Debug, Clone)]
pub struct Entry {
    client: Option<IpAddr>,
    time: Timestamp,
    method: Method,
    target: String,
    version: Version,
    referer: String,
    agent: String,
}

impl Entry {
    /// Notes a request that begins now.
    pub fn new(
        client: Option<IpAddr>,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Self {
        let text = |name| {
            let value = headers
                .get(name)
                .map(|value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()));
            value.map(|value| escaped(&value)).unwrap_or_default()
        };
        Self {
            client,
            time: Timestamp::now(),
            method: method.clone(),
            target: escaped(&without_state(uri)),
            version,
            referer: text(header::REFERER),
            agent: text(header::USER_AGENT),
        }
    }

    /// The line of an answer of that many bytes.
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
        let user = user.filter(|user| !user.is_empty()).map(escaped);
        let user = user.as_deref().unwrap_or("-");
        format!(
            "{client} - {user} [{time}] \"{method} {target} {version:?}\" {status} {bytes} \"{referer}\" \"{agent}\"\n"
        )
    }
}

/// Path and query, without the token that lets its holder go on with an upload.
pub(super) fn without_state(uri: &Uri) -> String {
    let Some(query) = uri.query() else {
        return uri.path().to_owned();
    };
    let parts = query.split('&').map(|part| {
        if part.starts_with("_state=") {
            "_state="
        } else {
            part
        }
    });
    format!("{}?{}", uri.path(), parts.collect::<Vec<_>>().join("&"))
}

/// Quotes, backslashes and control characters as Apache escapes them, so that no client can forge a line.
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
        let mut entry = Entry::new(
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
            let entry = Entry::new(None, &Method::GET, &uri, Version::HTTP_11, &headers);
            let line = entry.line(status, bytes, Some(&user));
            proptest::prop_assert!(line.ends_with("\"\n"), "{:?}", line);
            proptest::prop_assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1, "{:?}", &line);
            // The quotes that no backslash stands before are those of the three quoted fields, and of the user none.
            let (mut quotes, mut escaped) = (0, false);
            for c in line.replacen(&super::escaped(&user), "", 1).chars() {
                quotes += usize::from(c == '"' && !escaped);
                escaped = c == '\\' && !escaped;
            }
            proptest::prop_assert_eq!(quotes, 6, "{:?}", line);
        }
    }
}
