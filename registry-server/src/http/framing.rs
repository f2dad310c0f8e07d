//! Requests that a server and a proxy in front of it could read differently, which is how requests are smuggled (RFC
//! 9112, section 11.2). They are refused before anything else is looked at.

use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version};

use super::Body;
use super::reply::Reply;

/// The response to a request whose `Transfer-Encoding` or `Host` breaks HTTP/1.1, in the words of Go's server. `None`
/// for every other request.
pub(super) fn refusal(parts: &Parts) -> Option<Response<Body>> {
    if has_unknown_coding(parts) {
        let text = "Unsupported transfer encoding".to_owned();
        return Some(plain_text(StatusCode::NOT_IMPLEMENTED, text));
    }
    let problem = host_problem(parts)?;
    let text = format!("400 Bad Request: {problem}");
    Some(plain_text(StatusCode::BAD_REQUEST, text))
}

/// Whether the body of an HTTP/1.1 request has a transfer coding other than `chunked`. hyper decodes `chunked` alone,
/// so the coded bytes would be stored as content (RFC 9112, section 6.1).
fn has_unknown_coding(parts: &Parts) -> bool {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => {
            !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
                && parts.version <= Version::HTTP_11
        }
        (Some(_), Some(_)) => parts.version <= Version::HTTP_11,
    }
}

/// The problem with the `Host` header of an HTTP/1.1 request. There must be exactly one, of characters that every proxy
/// reads alike (RFC 9112, section 3.2).
fn host_problem(parts: &Parts) -> Option<&'static str> {
    if parts.version != Version::HTTP_11 {
        return None;
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Some("missing required Host header"),
        (Some(_), Some(_)) => Some("too many Host headers"),
        (Some(host), None) => {
            let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte);
            (!host.as_bytes().iter().all(fits)).then_some("malformed Host header")
        }
    }
}

fn plain_text(status: StatusCode, text: String) -> Response<Body> {
    Reply::with_body(status, Body::whole(text))
        .value(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        )
        .value(CONNECTION, HeaderValue::from_static("close"))
        .finish()
}
