//! What a request to an S3 store is for, by method, path and query. Start at [`Call::of`].

use std::collections::BTreeMap;
use std::fmt;

use http::{Method, Request};

/// A kind of request, in the words of S3's API reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// `GetObject`
    Get,
    /// `HeadObject`
    Head,
    /// `PutObject`
    Put,
    /// `ListObjects`, `ListObjectsV2`
    List,
    /// `CreateMultipartUpload`
    Create,
    /// `UploadPart`
    Part,
    /// `UploadPartCopy`
    PartCopy,
    /// `CompleteMultipartUpload`
    Complete,
    /// `AbortMultipartUpload`
    Abort,
    /// `ListParts`
    ListParts,
    /// `ListMultipartUploads`
    ListUploads,
    /// `CopyObject`
    Copy,
    /// `DeleteObject`
    Delete,
    /// `DeleteObjects`
    BulkDelete,
    /// Anything else: the bucket itself, another protocol.
    Other,
}

impl Call {
    /// All, in the order of a table.
    pub(crate) const ALL: [Call; 15] = [
        Call::Get,
        Call::Head,
        Call::Put,
        Call::List,
        Call::Create,
        Call::Part,
        Call::PartCopy,
        Call::Complete,
        Call::Abort,
        Call::ListParts,
        Call::ListUploads,
        Call::Copy,
        Call::Delete,
        Call::BulkDelete,
        Call::Other,
    ];

    /// The kind of a request to a bucket that is named in the path.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let object = path.split_once('/').is_some_and(|(_, key)| !key.is_empty());
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let copies = request.headers().contains_key("x-amz-copy-source");
        match (request.method(), object) {
            (&Method::GET, true) if has("uploadId") => Self::ListParts,
            (&Method::GET, true) => Self::Get,
            (&Method::HEAD, true) => Self::Head,
            (&Method::PUT, true) if has("partNumber") && copies => Self::PartCopy,
            (&Method::PUT, true) if has("partNumber") => Self::Part,
            (&Method::PUT, true) if copies => Self::Copy,
            (&Method::PUT, true) => Self::Put,
            (&Method::POST, true) if has("uploads") => Self::Create,
            (&Method::POST, true) if has("uploadId") => Self::Complete,
            (&Method::DELETE, true) if has("uploadId") => Self::Abort,
            (&Method::DELETE, true) => Self::Delete,
            (&Method::GET, false) if has("uploads") => Self::ListUploads,
            (&Method::GET, false) => Self::List,
            (&Method::POST, false) if has("delete") => Self::BulkDelete,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::Put => "put",
            Self::List => "list",
            Self::Create => "create multipart",
            Self::Part => "part",
            Self::PartCopy => "part by copy",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::ListParts => "list parts",
            Self::ListUploads => "list uploads",
            Self::Copy => "copy",
            Self::Delete => "delete",
            Self::BulkDelete => "bulk delete",
            Self::Other => "other",
        })
    }
}

/// How many requests of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(BTreeMap<Call, usize>);

impl Counts {
    /// One more.
    pub(super) fn add(&mut self, call: Call) {
        *self.0.entry(call).or_default() += 1;
    }

    /// How many of one kind.
    pub(crate) fn of(&self, call: Call) -> usize {
        self.0.get(&call).copied().unwrap_or_default()
    }

    /// How many at all.
    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_method_path_and_query() {
        let table = [
            ("GET", "/b/a/data", false, Call::Get),
            ("HEAD", "/b/a/data", false, Call::Head),
            ("PUT", "/b/a/data", false, Call::Put),
            ("PUT", "/b/a/data", true, Call::Copy),
            ("GET", "/b?list-type=2&prefix=uploads", false, Call::List),
            ("GET", "/b/?prefix=a", false, Call::List),
            ("GET", "/b/?prefix=a&uploads", false, Call::ListUploads),
            ("GET", "/b?uploads=", false, Call::ListUploads),
            ("POST", "/b/a/data?uploads=", false, Call::Create),
            ("PUT", "/b/a/data?partNumber=1&uploadId=x", false, Call::Part),
            ("PUT", "/b/a/data?partNumber=1&uploadId=x", true, Call::PartCopy),
            ("POST", "/b/a/data?uploadId=x", false, Call::Complete),
            (
                "DELETE",
                "/b/a/data?uploadId=x&x-id=AbortMultipartUpload",
                false,
                Call::Abort,
            ),
            ("GET", "/b/a/data?uploadId=x", false, Call::ListParts),
            ("DELETE", "/b/a/data", false, Call::Delete),
            ("POST", "/b?delete", false, Call::BulkDelete),
            ("POST", "/b/?delete=", false, Call::BulkDelete),
            ("HEAD", "/b", false, Call::Other),
            (
                "GET",
                "/b/a/data?X-Amz-Signature=1&x-id=GetObject",
                false,
                Call::Get,
            ),
        ];
        for (method, uri, copies, expected) in table {
            let mut request = Request::builder().method(method).uri(uri);
            if copies {
                request = request.header("x-amz-copy-source", "b/a");
            }
            let request = request.body(()).unwrap();
            assert_eq!(Call::of(&request), expected, "{method} {uri}");
        }
    }
}
