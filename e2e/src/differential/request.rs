//! Requests as data: the same list is sent to each server.
//!
//! A target or a header may name what an earlier answer of the same server gave: `{up}` is path and query of the `Location`
//! kept as `up`, `{up.path}`, `{up.id}` and `{up.state}` are its parts, `{host}` is the server's own address.
//! Start at [`Script`].

use std::collections::BTreeMap;

use crate::protocol::digest;
use crate::raw_http::Message;

/// The number of bytes of a body that are printed.
const DESCRIBED: usize = 300;

/// How the length of a body is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// `Content-Length`, when there is a body or the method has one.
    Length,
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// By the request's own headers, whatever they say. The body may end early.
    ByHand,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) scenario: &'static str,
    pub(super) method: String,
    pub(super) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    /// The raw bytes that are sent in place of method, target, headers and body.
    raw: Option<Vec<u8>>,
    /// Whether the sending half of the connection is closed after the request.
    ends: bool,
    /// The name under which the answer's `Location` is kept.
    pub(super) keep: Option<&'static str>,
}

/// A request without a body.
pub(super) fn ask(method: &str, target: impl Into<String>) -> Request {
    Request {
        scenario: "",
        method: method.to_owned(),
        target: target.into(),
        headers: Vec::new(),
        body: Vec::new(),
        framing: Framing::Length,
        raw: None,
        ends: false,
        keep: None,
    }
}

/// A request as raw bytes, which may contain `{host}`. Method and target are read from the bytes where possible.
pub(super) fn raw(bytes: impl AsRef<[u8]>) -> Request {
    let bytes = bytes.as_ref();
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut parts = line.split(' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Request {
        raw: Some(bytes.to_owned()),
        ..ask(method, target)
    }
}

macro_rules! methods {
    ($($name:ident $method:literal,)*) => {$(
        pub(super) fn $name(target: impl Into<String>) -> Request {
            ask($method, target)
        }
    )*};
}
methods! { get "GET", head "HEAD", put "PUT", post "POST", patch "PATCH", delete "DELETE", }

impl Request {
    /// Adds a header.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a body and its length.
    pub(super) fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body = bytes.as_ref().to_owned();
        self
    }

    /// Adds a body in chunks of at most 1000 bytes.
    pub(super) fn chunked(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.framing = Framing::Chunked;
        self.body(bytes)
    }

    /// Adds a body whose length only the request's own headers announce. The connection ends with it.
    pub(super) fn by_hand(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.framing = Framing::ByHand;
        self.ends = true;
        self.body(bytes)
    }

    /// Closes the sending half after the request, for a server that would wait for more.
    pub(super) fn ends(mut self) -> Self {
        self.ends = true;
        self
    }

    /// The request on one line, for people.
    pub(super) fn describe(&self) -> String {
        let mut text = match &self.raw {
            Some(bytes) => format!("raw {}", bytes.escape_ascii()),
            None => format!("{} {}", self.method, self.target.escape_debug()),
        };
        for (name, value) in &self.headers {
            text += &format!(", {name}: {}", value.escape_debug());
        }
        if self.framing == Framing::Chunked {
            text += ", chunked";
        }
        if !self.body.is_empty() {
            let body = self.body.escape_ascii().to_string();
            // The part of a document that matters is more often at its end.
            text += &match body.len() {
                0..DESCRIBED => format!(", body {body}"),
                long => format!(", body …{}", &body[long - DESCRIBED..]),
            };
        }
        text
    }

    /// Keeps the `Location` of the answer.
    pub(super) fn keep(mut self, slot: &'static str) -> Self {
        self.keep = Some(slot);
        self
    }

    /// The target as it is sent.
    pub(super) fn target(&self, host: &str, kept: &BTreeMap<&'static str, String>) -> String {
        fill(&self.target, host, kept)
    }

    /// The message for a server at `host` that gave these locations so far.
    pub(super) fn message(&self, host: &str, kept: &BTreeMap<&'static str, String>) -> Message {
        let is_head = self.method == "HEAD";
        if let Some(bytes) = &self.raw {
            let mut head = Vec::with_capacity(bytes.len());
            for (index, piece) in split_at_host(bytes).into_iter().enumerate() {
                if index > 0 {
                    head.extend_from_slice(host.as_bytes());
                }
                head.extend_from_slice(piece);
            }
            return Message {
                head,
                is_head,
                is_last: true,
                ends: self.ends,
                ..Message::default()
            };
        }
        let fill = |text: &str| fill(text, host, kept);
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target(host, kept));
        let has = |name: &str| self.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        if !has("host") {
            head += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {}\r\n", fill(value));
        }
        let body = match self.framing {
            Framing::Length => {
                let may_have_one = ["POST", "PUT", "PATCH"].contains(&self.method.as_str());
                if may_have_one || !self.body.is_empty() {
                    head += &format!("Content-Length: {}\r\n", self.body.len());
                }
                self.body.clone()
            }
            Framing::Chunked => {
                head += "Transfer-Encoding: chunked\r\n";
                let mut body = Vec::new();
                for chunk in self.body.chunks(1000) {
                    body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    body.extend_from_slice(chunk);
                    body.extend_from_slice(b"\r\n");
                }
                body.extend_from_slice(b"0\r\n\r\n");
                body
            }
            Framing::ByHand => self.body.clone(),
        };
        head += "\r\n";
        Message {
            head: head.into_bytes(),
            body,
            waits: self.headers.iter().any(|(_, value)| value == "100-continue"),
            is_head,
            is_last: self.ends,
            ends: self.ends,
        }
    }
}

fn split_at_host(bytes: &[u8]) -> Vec<&[u8]> {
    const HOST: &[u8] = b"{host}";
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(HOST.len()).position(|window| window == HOST) {
        pieces.push(&rest[..at]);
        rest = &rest[at + HOST.len()..];
    }
    pieces.push(rest);
    pieces
}

/// Fills in the placeholders. A location that the server never gave becomes an unknown one; the missing location is a
/// difference of its own.
fn fill(text: &str, host: &str, kept: &BTreeMap<&'static str, String>) -> String {
    let mut text = text.replace("{host}", host);
    while let Some((before, rest)) = text.split_once('{') {
        let Some((name, after)) = rest.split_once('}') else {
            break;
        };
        let (slot, part) = name.split_once('.').unwrap_or((name, ""));
        let location = kept.get(slot).map_or("/no-such-location", String::as_str);
        let (path, query) = location.split_once('?').unwrap_or((location, ""));
        let value = match part {
            "path" => path,
            "id" => path.rsplit('/').next().unwrap_or_default(),
            "state" => query.trim_start_matches("_state="),
            _ => location,
        };
        text = format!("{before}{value}{after}");
    }
    text
}

/// A list of requests, in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) requests: Vec<Request>,
    scenario: &'static str,
}

impl Script {
    /// Sets the scenario of the requests that follow.
    pub(super) fn about(&mut self, scenario: &'static str) -> &mut Self {
        self.scenario = scenario;
        self
    }

    /// Adds a request.
    pub(super) fn send(&mut self, mut request: Request) -> &mut Self {
        request.scenario = self.scenario;
        self.requests.push(request);
        self
    }

    /// Starts an upload; its location is kept as `up`.
    pub(super) fn start(&mut self, name: &str) -> &mut Self {
        self.send(post(format!("/v2/{name}/blobs/uploads/")).keep("up"))
    }

    /// Pushes a blob and gives its digest.
    pub(super) fn blob(&mut self, name: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        self.start(name)
            .send(put(format!("{{up}}&digest={digest}")).body(bytes));
        digest
    }

    /// Pushes a manifest and gives its digest.
    pub(super) fn manifest(&mut self, name: &str, reference: &str, media_type: &str, text: &str) -> String {
        self.send(
            put(format!("/v2/{name}/manifests/{reference}"))
                .with("Content-Type", media_type)
                .body(text),
        );
        digest(text.as_bytes())
    }
}
