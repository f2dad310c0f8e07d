//! A builder of responses, and the names of the registry's headers.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::Body;

/// `Docker-Content-Digest`
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// `Docker-Upload-UUID`
pub(super) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// `OCI-Filters-Applied`
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// `OCI-Subject`
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// `OCI-Tag`
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// `OCI-Chunk-Min-Length`
pub(super) const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// A response that is being built.
#[derive(Debug)]
pub(super) struct Reply {
    response: Response<Body>,
}

impl Reply {
    /// A response without a body.
    pub(super) fn new(status: StatusCode) -> Self {
        Self::with_body(status, Body::empty())
    }

    /// A response with a body, and its `Content-Length`.
    pub(super) fn with_body(status: StatusCode, body: Body) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let length = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
        // A 204 has no length, and a 304 would have to send that of the 200 it replaces (RFC 9110, section 8.6).
        if ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        Self { response }
    }

    /// A response with a JSON document and a final newline, as in distribution.
    pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Self {
        let mut bytes = serde_json::to_vec(document).expect("every document here has string keys only");
        bytes.push(b'\n');
        Self::with_body(status, Body::whole(bytes))
            .value(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// Sets a header to a value that is known to be valid.
    pub(super) fn value(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.response.headers_mut().insert(name, value.into());
        self
    }

    /// Adds a header from text. An invalid value is logged and left out. All values come from parsed types, so that is
    /// only a safeguard.
    pub(super) fn header(mut self, name: HeaderName, value: impl ToString) -> Self {
        match HeaderValue::try_from(value.to_string()) {
            Ok(value) => {
                self.response.headers_mut().append(name, value);
            }
            Err(error) => tracing::error!(%name, %error, "a header could not be built"),
        }
        self
    }

    /// The finished response.
    pub(super) fn finish(self) -> Response<Body> {
        self.response
    }
}

impl From<Reply> for Response<Body> {
    fn from(reply: Reply) -> Self {
        reply.finish()
    }
}
