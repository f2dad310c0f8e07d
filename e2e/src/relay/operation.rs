//! The operation of a request to a store, from method, path, query and headers. Start at [`Operation::of`].

use std::collections::BTreeMap;
use std::fmt;

use http::{Method, Request};

/// The API that a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Azure Blob Storage.
    Azure,
    /// Google's JSON API.
    Google,
    /// S3, and Google's XML API, which is the same for the requests made here.
    S3,
}

impl Dialect {
    /// The API, recognised by something only that API has.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        if request.headers().contains_key("x-ms-version") {
            Self::Azure
        } else if path.starts_with(JSON) || path.starts_with(UPLOADS) {
            Self::Google
        } else {
            Self::S3
        }
    }
}

/// Path prefixes of Google's JSON API and of its uploads.
const JSON: &str = "/storage/v1/";
const UPLOADS: &str = "/upload/storage/v1/";

/// An operation, with the names of S3's, Azure's and Google's API references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// `GetObject`, `Get Blob`
    Get,
    /// `HeadObject`, `Get Blob Properties`
    Head,
    /// `PutObject`, `Put Blob`, `Objects: insert`
    Put,
    /// `ListObjects`, `ListObjectsV2`, `List Blobs`, `Objects: list`
    List,
    /// `CreateMultipartUpload`
    Create,
    /// `UploadPart`, `Put Block`, `Append Block`
    Part,
    /// `UploadPartCopy`
    PartCopy,
    /// `CompleteMultipartUpload`, `Put Block List`, `Objects: compose`
    Complete,
    /// `AbortMultipartUpload`
    Abort,
    /// `ListParts`, `Get Block List`
    ListParts,
    /// `ListMultipartUploads`
    ListUploads,
    /// `CopyObject`, `Copy Blob`, `Objects: rewrite`
    Copy,
    /// `DeleteObject`, `Delete Blob`
    Delete,
    /// `DeleteObjects`, `Blob Batch`
    BulkDelete,
    /// Anything else: the bucket itself, another protocol.
    Other,
}

impl Operation {
    /// All operations, in the order of a table.
    pub(crate) const ALL: [Operation; 15] = [
        Operation::Get,
        Operation::Head,
        Operation::Put,
        Operation::List,
        Operation::Create,
        Operation::Part,
        Operation::PartCopy,
        Operation::Complete,
        Operation::Abort,
        Operation::ListParts,
        Operation::ListUploads,
        Operation::Copy,
        Operation::Delete,
        Operation::BulkDelete,
        Operation::Other,
    ];

    /// The operations that change something.
    pub(crate) const WRITES: &[Operation] = &[
        Operation::Put,
        Operation::Create,
        Operation::Part,
        Operation::PartCopy,
        Operation::Complete,
        Operation::Copy,
        Operation::Delete,
        Operation::BulkDelete,
    ];

    /// The operation of a request to a bucket or container that is named in the path.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        match Dialect::of(request) {
            Dialect::Azure => Self::of_azure(request),
            Dialect::Google => Self::of_google(request),
            Dialect::S3 => Self::of_s3(request),
        }
    }

    /// The path holds account, container and name.
    fn of_azure<B>(request: &Request<B>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let object = path.splitn(3, '/').nth(2).is_some_and(|name| !name.is_empty());
        let component = pairs(request).find_map(|(name, value)| (name == "comp").then_some(value));
        let copies = request.headers().contains_key("x-ms-copy-source");
        match (request.method(), object, component) {
            (&Method::GET, true, None) => Self::Get,
            (&Method::HEAD, true, None) => Self::Head,
            (&Method::PUT, true, None) if copies => Self::Copy,
            (&Method::PUT, true, None) => Self::Put,
            (&Method::PUT, true, Some("block" | "appendblock")) => Self::Part,
            (&Method::PUT, true, Some("blocklist")) => Self::Complete,
            (&Method::GET, true, Some("blocklist")) => Self::ListParts,
            (&Method::DELETE, true, None) => Self::Delete,
            (&Method::GET, false, Some("list")) => Self::List,
            (&Method::POST, false, Some("batch")) => Self::BulkDelete,
            _ => Self::Other,
        }
    }

    /// The object's name is one path segment, with its slashes encoded.
    fn of_google<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let (upload, rest) = match (path.strip_prefix(UPLOADS), path.strip_prefix(JSON)) {
            (Some(rest), _) => (true, rest),
            (None, rest) => (false, rest.unwrap_or_default()),
        };
        // The path is `b`, the bucket, `o`, the object's name and the action.
        let segments: Vec<&str> = rest.split('/').skip(2).collect();
        match (request.method(), upload, segments.as_slice()) {
            (&Method::POST, true, ["o"]) => Self::Put,
            (&Method::GET, false, ["o"]) => Self::List,
            (&Method::GET, false, ["o", _]) => Self::Head,
            (&Method::DELETE, false, ["o", _]) => Self::Delete,
            (&Method::POST, false, ["o", _, "compose"]) => Self::Complete,
            (&Method::POST, false, ["o", _, "rewriteTo", ..]) => Self::Copy,
            _ => Self::Other,
        }
    }

    fn of_s3<B>(request: &Request<B>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let object = path.split_once('/').is_some_and(|(_, key)| !key.is_empty());
        let has = |name: &str| pairs(request).any(|(found, _)| found == name);
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

/// Names and values of a query, still encoded.
fn pairs<B>(request: &Request<B>) -> impl Iterator<Item = (&str, &str)> {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

impl fmt::Display for Operation {
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

/// The number of requests of each operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(BTreeMap<Operation, usize>);

impl Counts {
    /// Counts one request.
    pub(super) fn add(&mut self, operation: Operation) {
        *self.0.entry(operation).or_default() += 1;
    }

    /// The number of requests of one operation.
    pub(crate) fn of(&self, operation: Operation) -> usize {
        self.0.get(&operation).copied().unwrap_or_default()
    }

    /// The number of all requests.
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
            ("GET", "/b/a/data", false, Operation::Get),
            ("HEAD", "/b/a/data", false, Operation::Head),
            ("PUT", "/b/a/data", false, Operation::Put),
            ("PUT", "/b/a/data", true, Operation::Copy),
            ("GET", "/b?list-type=2&prefix=uploads", false, Operation::List),
            ("GET", "/b/?prefix=a", false, Operation::List),
            ("GET", "/b/?prefix=a&uploads", false, Operation::ListUploads),
            ("GET", "/b?uploads=", false, Operation::ListUploads),
            ("POST", "/b/a/data?uploads=", false, Operation::Create),
            ("PUT", "/b/a/data?partNumber=1&uploadId=x", false, Operation::Part),
            (
                "PUT",
                "/b/a/data?partNumber=1&uploadId=x",
                true,
                Operation::PartCopy,
            ),
            ("POST", "/b/a/data?uploadId=x", false, Operation::Complete),
            (
                "DELETE",
                "/b/a/data?uploadId=x&x-id=AbortMultipartUpload",
                false,
                Operation::Abort,
            ),
            ("GET", "/b/a/data?uploadId=x", false, Operation::ListParts),
            ("DELETE", "/b/a/data", false, Operation::Delete),
            ("POST", "/b?delete", false, Operation::BulkDelete),
            ("POST", "/b/?delete=", false, Operation::BulkDelete),
            ("HEAD", "/b", false, Operation::Other),
            (
                "GET",
                "/b/a/data?X-Amz-Signature=1&x-id=GetObject",
                false,
                Operation::Get,
            ),
        ];
        for (method, uri, copies, expected) in table {
            let mut request = Request::builder().method(method).uri(uri);
            if copies {
                request = request.header("x-amz-copy-source", "b/a");
            }
            let request = request.body(()).unwrap();
            assert_eq!(Operation::of(&request), expected, "{method} {uri}");
        }
    }

    #[test]
    fn azures_and_googles_requests_are_told_apart_too() {
        let azure = [
            ("GET", "/account/c/a/data", Operation::Get),
            ("HEAD", "/account/c/a/data", Operation::Head),
            ("PUT", "/account/c/a/data", Operation::Put),
            (
                "PUT",
                "/account/c/a/data?comp=block&blockid=MQ==",
                Operation::Part,
            ),
            ("PUT", "/account/c/a/data?comp=blocklist", Operation::Complete),
            (
                "GET",
                "/account/c/a/data?comp=blocklist&blocklisttype=all",
                Operation::ListParts,
            ),
            ("DELETE", "/account/c/a/data", Operation::Delete),
            (
                "GET",
                "/account/c?restype=container&comp=list&prefix=a",
                Operation::List,
            ),
            (
                "POST",
                "/account/c?restype=container&comp=batch",
                Operation::BulkDelete,
            ),
            ("HEAD", "/account/c?restype=container", Operation::Other),
        ];
        for (method, uri, expected) in azure {
            let request = Request::builder()
                .method(method)
                .uri(uri)
                .header("x-ms-version", "1");
            assert_eq!(
                Operation::of(&request.body(()).unwrap()),
                expected,
                "{method} {uri}"
            );
        }
        let copy = Request::put("/account/c/b")
            .header("x-ms-version", "1")
            .header("x-ms-copy-source", "a");
        assert_eq!(Operation::of(&copy.body(()).unwrap()), Operation::Copy);
        let google = [
            (
                "POST",
                "/upload/storage/v1/b/c/o?uploadType=media&name=a",
                Operation::Put,
            ),
            ("GET", "/storage/v1/b/c/o?prefix=a", Operation::List),
            ("GET", "/storage/v1/b/c/o/a%2Fdata", Operation::Head),
            ("DELETE", "/storage/v1/b/c/o/a%2Fdata", Operation::Delete),
            ("POST", "/storage/v1/b/c/o/a%2Fdata/compose", Operation::Complete),
            ("POST", "/storage/v1/b/c/o/a/rewriteTo/b/c/o/b", Operation::Copy),
            ("GET", "/storage/v1/b/c", Operation::Other),
            // Google's XML API.
            ("GET", "/c/a/data", Operation::Get),
            ("HEAD", "/c/a/data", Operation::Head),
            ("DELETE", "/c/a/data", Operation::Delete),
        ];
        for (method, uri, expected) in google {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            assert_eq!(Operation::of(&request), expected, "{method} {uri}");
        }
    }
}
