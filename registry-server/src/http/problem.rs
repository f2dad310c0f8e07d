//! Errors as clients see them: the table of codes, and the mapping from each error to its code.

use http::header::RETRY_AFTER;
use http::{HeaderName, Response, StatusCode};
use registry_oci::shortened;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body_timeout::IdleTimeout;
use super::reply::Reply;
use super::{Body, range};
use crate::auth::{Access, Action};
use crate::fault::{Fault, chain};
use crate::registry;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $code:literal, $status:ident, $message:literal;)*) => {
        /// The error codes that clients know. The first fourteen are those of OCI distribution 1.1, "Error Codes"; the
        /// others are distribution's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it is sent.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The status of a response with this code.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The message, in distribution's words.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }
        }
    };
}

codes! {
    /// code-1
    BlobUnknown, "BLOB_UNKNOWN", NOT_FOUND, "blob unknown to registry";
    /// code-2
    BlobUploadInvalid, "BLOB_UPLOAD_INVALID", NOT_FOUND, "blob upload invalid";
    /// code-3
    BlobUploadUnknown, "BLOB_UPLOAD_UNKNOWN", NOT_FOUND, "blob upload unknown to registry";
    /// code-4
    DigestInvalid, "DIGEST_INVALID", BAD_REQUEST, "provided digest did not match uploaded content";
    /// code-5
    ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN", BAD_REQUEST, "blob unknown to registry";
    /// code-6
    ManifestInvalid, "MANIFEST_INVALID", BAD_REQUEST, "manifest invalid";
    /// code-7
    ManifestUnknown, "MANIFEST_UNKNOWN", NOT_FOUND, "manifest unknown";
    /// code-8
    NameInvalid, "NAME_INVALID", BAD_REQUEST, "invalid repository name";
    /// code-9
    NameUnknown, "NAME_UNKNOWN", NOT_FOUND, "repository name not known to registry";
    /// code-10
    SizeInvalid, "SIZE_INVALID", BAD_REQUEST, "provided length did not match content length";
    /// code-11
    Unauthorized, "UNAUTHORIZED", UNAUTHORIZED, "authentication required";
    /// code-12
    Denied, "DENIED", FORBIDDEN, "requested access to the resource is denied";
    /// code-13
    Unsupported, "UNSUPPORTED", METHOD_NOT_ALLOWED, "The operation is unsupported.";
    /// code-14
    TooManyRequests, "TOOMANYREQUESTS", TOO_MANY_REQUESTS, "too many requests";
    /// distribution
    PaginationNumberInvalid, "PAGINATION_NUMBER_INVALID", BAD_REQUEST, "invalid number of results requested";
    /// distribution
    RangeInvalid, "RANGE_INVALID", RANGE_NOT_SATISFIABLE, "invalid content range";
    /// distribution
    TagInvalid, "TAG_INVALID", BAD_REQUEST, "manifest tag did not match URI";
    /// distribution
    Unavailable, "UNAVAILABLE", SERVICE_UNAVAILABLE, "service unavailable";
    /// distribution
    Unknown, "UNKNOWN", INTERNAL_SERVER_ERROR, "unknown error";
}

/// An error response.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    errors: Vec<ErrorEntry>,
    headers: Vec<(HeaderName, String)>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct ErrorEntry {
    code: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

#[derive(Serialize)]
struct ErrorDocument {
    errors: Vec<ErrorEntry>,
}

/// The most characters of one text in a detail. Details repeat values that clients sent, which can be megabytes.
const TEXT_MAX: usize = 1024;

impl ErrorEntry {
    /// An entry with a detail, whose texts are cut to [`TEXT_MAX`]. No other function makes one.
    fn with(code: Code, detail: impl Into<Value>) -> Self {
        Self {
            code: code.name(),
            message: code.message(),
            detail: Some(cut(detail.into())),
        }
    }
}

/// A value with its texts cut.
fn cut(detail: Value) -> Value {
    match detail {
        Value::String(text) => Value::String(shortened(&text, TEXT_MAX)),
        Value::Array(items) => items.into_iter().map(cut).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, cut(value)))
            .collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

impl Problem {
    /// An error without a detail.
    pub fn new(code: Code) -> Self {
        let entry = ErrorEntry {
            code: code.name(),
            message: code.message(),
            detail: None,
        };
        Self {
            status: code.status(),
            errors: vec![entry],
            headers: Vec::new(),
        }
    }

    /// An error with a detail for people.
    pub fn with(code: Code, detail: impl Into<Value>) -> Self {
        Self {
            errors: vec![ErrorEntry::with(code, detail)],
            ..Self::new(code)
        }
    }

    /// The same error with another status than the code's, where HTTP has a better one.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same error with a header.
    pub(super) fn header(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// The client must log in. The detail lists the accesses that the request needs, in distribution's form. It is
    /// `null` when the request needs no more than a login.
    pub(super) fn unauthorized(access: &[Access]) -> Self {
        let list: Vec<Value> = access.iter().map(record).collect();
        let detail = if list.iter().all(Value::is_null) {
            Value::Null
        } else {
            Value::Array(list)
        };
        Self::with(Code::Unauthorized, detail)
    }

    /// The server cannot answer the request now.
    pub(crate) fn unavailable(retry_after: Option<std::time::Duration>) -> Self {
        Self::new(Code::Unavailable).retry_after(retry_after)
    }

    /// The same error with `Retry-After`, if there is a time after which to retry.
    fn retry_after(self, wait: Option<std::time::Duration>) -> Self {
        match wait {
            Some(wait) => self.header(RETRY_AFTER, wait.as_secs().max(1)),
            None => self,
        }
    }

    /// A fault of the server. The detail is a random id, which the log line has as well.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let request = Uuid::new_v4();
        tracing::error!(%request, error = chain(error), "a request failed");
        Self::with(Code::Unknown, json!({ "request": request.to_string() }))
    }
}

fn record(access: &Access) -> Value {
    match access {
        Access::Base => Value::Null,
        Access::Catalog => json!({ "Type": "registry", "Class": "", "Name": "catalog", "Action": "*" }),
        Access::Repository { name, action } => {
            let action = match action {
                Action::Pull => "pull",
                Action::Push => "push",
                Action::Delete => "delete",
            };
            json!({ "Type": "repository", "Class": "", "Name": name.as_str(), "Action": action })
        }
    }
}

impl From<Problem> for Response<Body> {
    fn from(problem: Problem) -> Self {
        let Problem {
            status,
            errors,
            headers,
        } = problem;
        let reply = Reply::json(status, &ErrorDocument { errors });
        headers
            .into_iter()
            .fold(reply, |reply, (name, value)| reply.header(name, value))
            .finish()
    }
}

impl From<registry_oci::Error> for Problem {
    fn from(error: registry_oci::Error) -> Self {
        use registry_oci::Error;
        let code = match &error {
            Error::InvalidDigest { .. } | Error::UnsupportedAlgorithm { .. } => Code::DigestInvalid,
            Error::InvalidRepositoryName { .. } => Code::NameInvalid,
            Error::InvalidTag { .. } => Code::TagInvalid,
            Error::InvalidUploadId { .. } => Code::BlobUploadUnknown,
            Error::InvalidMediaType { .. } | Error::InvalidManifest { .. } => Code::ManifestInvalid,
            // A hash state is read only from the store, and a broken one is ignored there.
            Error::InvalidHashState { .. } => return Self::internal(&error),
        };
        Self::with(code, error.to_string())
    }
}

impl From<registry::Error> for Problem {
    fn from(error: registry::Error) -> Self {
        use registry::Error;
        match &error {
            Error::BlobUnknown { digest, .. } => Self::with(Code::BlobUnknown, digest.to_string()),
            Error::UploadUnknown { .. } => Self::with(Code::BlobUploadUnknown, chain(&error)),
            Error::UploadOffset { actual, .. } | Error::UploadOvertaken { actual, .. } => {
                Self::with(Code::RangeInvalid, chain(&error))
                    .header(http::header::RANGE, range::of_upload(*actual))
            }
            Error::UploadInterrupted { source, .. } => {
                let problem = Self::with(Code::SizeInvalid, error.to_string());
                match source.is::<IdleTimeout>() {
                    true => problem.status(StatusCode::REQUEST_TIMEOUT),
                    false => problem,
                }
            }
            Error::UploadLength { .. } => Self::with(Code::SizeInvalid, error.to_string()),
            Error::UploadBusy { .. } => {
                let retry_after = match error.fault() {
                    Fault::Transient { retry_after } => retry_after,
                    Fault::Caller | Fault::Permanent => None,
                };
                // Clients that retry do so after 429 and not after 503.
                Self::with(Code::TooManyRequests, error.to_string()).retry_after(retry_after)
            }
            Error::DigestMismatch { .. } | Error::ManifestDigestMismatch { .. } => {
                Self::with(Code::DigestInvalid, chain(&error))
            }
            Error::ManifestUnknown { .. } | Error::TagUnknown { .. } | Error::ManifestNotAccepted { .. } => {
                Self::with(Code::ManifestUnknown, chain(&error))
            }
            Error::ManifestUrl { .. } | Error::ManifestSize { .. } => {
                Self::with(Code::ManifestInvalid, error.to_string())
            }
            Error::ManifestClass { .. } => Self::with(Code::Denied, error.to_string()),
            Error::ManifestInvalid { source } => Self::with(Code::ManifestInvalid, source.to_string()),
            Error::ManifestTooLarge { .. } => {
                Self::with(Code::ManifestInvalid, chain(&error)).status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            Error::ManifestReferences { missing, more } => {
                let digests = missing.iter().map(|missing| missing.digest().to_string());
                let rest = (*more > 0).then(|| format!("and {more} more, as far as they were looked for"));
                let errors = digests
                    .chain(rest)
                    .map(|detail| ErrorEntry::with(Code::ManifestBlobUnknown, detail));
                Self {
                    errors: errors.collect(),
                    ..Self::new(Code::ManifestBlobUnknown)
                }
            }
            Error::RepositoryUnknown { repository } => {
                Self::with(Code::NameUnknown, json!({ "name": repository.as_str() }))
            }
            Error::RangeNotSatisfiable { size } => Self::with(Code::RangeInvalid, chain(&error))
                .header(http::header::CONTENT_RANGE, format!("bytes */{size}")),
            Error::Corrupt { .. }
            | Error::StoredManifest { .. }
            | Error::CacheInvalidation { .. }
            | Error::Storage { .. }
            | Error::Stopping => by_fault(&error),
        }
    }
}

/// The response to a fault of the server. It reveals no internals, and tells whether to retry.
fn by_fault(error: &registry::Error) -> Problem {
    match error.fault() {
        Fault::Transient { retry_after } => match error.refusal() {
            // The store has logged the cause. A line for each request would bury it.
            Some(why) => {
                tracing::debug!(error = chain(error), "a request could not be answered now");
                Problem::with(Code::Unavailable, why).retry_after(retry_after)
            }
            None => {
                // That the server stops, or that another replica has the upload session, is no error.
                match error.is_expected() {
                    true => tracing::debug!(error = chain(error), "a request could not be answered now"),
                    false => tracing::error!(error = chain(error), "a request could not be answered now"),
                }
                Problem::unavailable(retry_after)
            }
        },
        Fault::Caller | Fault::Permanent => Problem::internal(error),
    }
}

#[cfg(test)]
mod tests;
