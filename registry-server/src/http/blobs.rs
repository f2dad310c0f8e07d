//! `/v2/<name>/blobs/<digest>` ("Pulling blobs" and "Deleting Blobs", OCI distribution 1.1).

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};
use registry_oci::{Digest, RepositoryName};

use super::multipart_byteranges::MultipartByteRanges;
use super::problem::{Code, Problem};
use super::range::{RequestedRanges, SelectedRanges};
use super::reply::{DOCKER_CONTENT_DIGEST, Reply};
use super::request_context::RequestContext;
use super::{Body, conditional, range};
use crate::registry::Error;
use crate::storage::ReadRange;

const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub(super) async fn respond(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &str,
) -> Result<Response<Body>, Problem> {
    let digest = Digest::parse(digest)?;
    match *context.method {
        Method::DELETE => delete(context, name, &digest).await,
        Method::HEAD => head(context, name, &digest).await,
        _ => get(context, name, &digest).await,
    }
}

async fn head(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, Problem> {
    let blob = context.registry.head_blob(name, digest).await?;
    if conditional::precondition_fails(context.headers, digest) {
        return Ok(describe(Reply::new(StatusCode::PRECONDITION_FAILED), digest).finish());
    }
    if conditional::is_not_modified(context.headers, digest) {
        return Ok(describe(Reply::new(StatusCode::NOT_MODIFIED), digest).finish());
    }
    let not_satisfiable = || Error::RangeNotSatisfiable { size: blob.size };
    let requested = match requested(context, digest) {
        // Every range of empty content is answered with the whole.
        _ if blob.size == 0 => ReadRange::Full,
        RequestedRanges::One(range) => range,
        RequestedRanges::Several(ranges) => match range::select(&ranges, blob.size) {
            SelectedRanges::Whole => ReadRange::Full,
            SelectedRanges::One(part) => ReadRange::Between(part.start, part.end - 1),
            SelectedRanges::Nothing => return Err(not_satisfiable().into()),
            SelectedRanges::Several(parts) => {
                let parts = MultipartByteRanges::new(parts, blob.size);
                let reply = Reply::new(StatusCode::PARTIAL_CONTENT).value(CONTENT_LENGTH, parts.length());
                return Ok(content_headers(reply, digest, parts.content_type()).finish());
            }
        },
    };
    let range = requested.resolve(blob.size).ok_or_else(not_satisfiable)?;
    let reply = Reply::new(status(requested)).value(CONTENT_LENGTH, range.end - range.start);
    Ok(with_range(
        content_headers(reply, digest, OCTET_STREAM),
        requested,
        &range,
        blob.size,
    )
    .finish())
}

async fn get(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, Problem> {
    if conditional::precondition_fails(context.headers, digest) {
        context.registry.head_blob(name, digest).await?;
        return Ok(describe(Reply::new(StatusCode::PRECONDITION_FAILED), digest).finish());
    }
    if conditional::is_not_modified(context.headers, digest) {
        context.registry.head_blob(name, digest).await?;
        return Ok(describe(Reply::new(StatusCode::NOT_MODIFIED), digest).finish());
    }
    match requested(context, digest) {
        RequestedRanges::One(range) => get_one(context, name, digest, range).await,
        RequestedRanges::Several(ranges) => get_several(context, name, digest, &ranges).await,
    }
}

/// Sends the whole blob or one part of it, or redirects to the store.
async fn get_one(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &Digest,
    requested: ReadRange,
) -> Result<Response<Body>, Problem> {
    if let Some(url) = context.registry.redirect_blob(name, digest).await? {
        // Without headers for caches: the URL is valid for minutes only.
        return Ok(Reply::new(StatusCode::TEMPORARY_REDIRECT)
            .header(DOCKER_CONTENT_DIGEST, digest)
            .header(LOCATION, url)
            .finish());
    }
    send_one(context, name, digest, requested).await
}

async fn send_one(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &Digest,
    mut requested: ReadRange,
) -> Result<Response<Body>, Problem> {
    let content = match context.registry.get_blob(name, digest, requested).await {
        // Every range of empty content is answered with the whole.
        Err(Error::RangeNotSatisfiable { size: 0 }) => {
            requested = ReadRange::Full;
            context.registry.get_blob(name, digest, requested).await?.content
        }
        blob => blob?.content,
    };
    let (range, size) = (content.range.clone(), content.size);
    let reply = Reply::with_body(status(requested), Body::content(content));
    Ok(with_range(
        content_headers(reply, digest, OCTET_STREAM),
        requested,
        &range,
        size,
    )
    .finish())
}

/// Sends several parts. There is no redirect for them, because S3, Azure and Google Cloud Storage answer a request for
/// several ranges with the whole object.
async fn get_several(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &Digest,
    ranges: &[ReadRange],
) -> Result<Response<Body>, Problem> {
    let blob = context.registry.head_blob(name, digest).await?;
    match range::select(ranges, blob.size) {
        SelectedRanges::Whole => get_one(context, name, digest, ReadRange::Full).await,
        SelectedRanges::Nothing if blob.size == 0 => get_one(context, name, digest, ReadRange::Full).await,
        SelectedRanges::Nothing => Err(Error::RangeNotSatisfiable { size: blob.size }.into()),
        SelectedRanges::One(part) => {
            send_one(
                context,
                name,
                digest,
                ReadRange::Between(part.start, part.end - 1),
            )
            .await
        }
        SelectedRanges::Several(parts) => {
            let contents = context.registry.blob_parts(&blob, parts.clone());
            let parts = MultipartByteRanges::new(parts, blob.size);
            let content_type = parts.content_type();
            let body = Body::byte_ranges(parts, contents);
            let reply = Reply::with_body(StatusCode::PARTIAL_CONTENT, body);
            Ok(content_headers(reply, digest, content_type).finish())
        }
    }
}

async fn delete(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, Problem> {
    if !context.options.delete {
        return Err(Problem::new(Code::Unsupported));
    }
    context.registry.delete_blob(name, digest).await?;
    Ok(Reply::new(StatusCode::ACCEPTED)
        .header(DOCKER_CONTENT_DIGEST, digest)
        .finish())
}

fn requested(context: &RequestContext<'_>, digest: &Digest) -> RequestedRanges {
    context
        .headers
        .get(RANGE)
        .filter(|_| conditional::range_applies(context.headers, digest))
        .map_or(RequestedRanges::One(ReadRange::Full), range::parse)
}

fn status(requested: ReadRange) -> StatusCode {
    match requested {
        ReadRange::Full => StatusCode::OK,
        ReadRange::From(_) | ReadRange::Between(..) | ReadRange::Last(_) => StatusCode::PARTIAL_CONTENT,
    }
}

fn describe(reply: Reply, digest: &Digest) -> Reply {
    reply
        .header(DOCKER_CONTENT_DIGEST, digest)
        .header(ETAG, conditional::etag(digest))
        .value(CACHE_CONTROL, HeaderValue::from_static("max-age=31536000"))
}

/// The headers of a response with content. A pushed blob can be a web page with scripts, so a browser must neither
/// guess its type nor display it as a page of the registry's origin.
fn content_headers(reply: Reply, digest: &Digest, content_type: HeaderValue) -> Reply {
    describe(reply, digest)
        .value(ACCEPT_RANGES, HeaderValue::from_static("bytes"))
        .value(CONTENT_TYPE, content_type)
        .value(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        .value(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"))
}

fn with_range(reply: Reply, requested: ReadRange, range: &std::ops::Range<u64>, size: u64) -> Reply {
    match requested {
        ReadRange::Full => reply,
        ReadRange::From(_) | ReadRange::Between(..) | ReadRange::Last(_) => reply.header(
            CONTENT_RANGE,
            format!("bytes {}-{}/{size}", range.start, range.end - 1),
        ),
    }
}
