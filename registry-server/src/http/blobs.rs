//! `/v2/<name>/blobs/<digest>` ("Pulling blobs" and "Deleting Blobs", OCI distribution 1.1).

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION, RANGE,
};
use http::{HeaderValue, Method, Response, StatusCode};
use registry_oci::{Digest, RepositoryName};

use super::call::Call;
use super::problem::{Code, Problem};
use super::reply::{DOCKER_CONTENT_DIGEST, Reply};
use super::{Body, conditional, range};
use crate::storage::ReadRange;

pub(super) async fn respond(
    call: &Call<'_>,
    name: &RepositoryName,
    digest: &str,
) -> Result<Response<Body>, Problem> {
    let digest = Digest::parse(digest)?;
    match *call.method {
        Method::DELETE => delete(call, name, &digest).await,
        Method::HEAD => head(call, name, &digest).await,
        _ => get(call, name, &digest).await,
    }
}

async fn head(call: &Call<'_>, name: &RepositoryName, digest: &Digest) -> Result<Response<Body>, Problem> {
    let held = call.registry.head_blob(name, digest).await?;
    if conditional::is_unwanted(call.headers, digest) {
        return Ok(describe(Reply::new(StatusCode::PRECONDITION_FAILED), digest).finish());
    }
    if conditional::is_fresh(call.headers, digest) {
        return Ok(describe(Reply::new(StatusCode::NOT_MODIFIED), digest).finish());
    }
    let asked = match held.size {
        0 => ReadRange::Full,
        _ => asked_range(call, digest),
    };
    let range = asked
        .resolve(held.size)
        .ok_or(crate::registry::Error::RangeNotSatisfiable { size: held.size })?;
    let reply = Reply::new(status(asked)).value(CONTENT_LENGTH, range.end - range.start);
    Ok(content_headers(reply, digest, asked, &range, held.size).finish())
}

async fn get(call: &Call<'_>, name: &RepositoryName, digest: &Digest) -> Result<Response<Body>, Problem> {
    if conditional::is_unwanted(call.headers, digest) {
        call.registry.head_blob(name, digest).await?;
        return Ok(describe(Reply::new(StatusCode::PRECONDITION_FAILED), digest).finish());
    }
    if conditional::is_fresh(call.headers, digest) {
        call.registry.head_blob(name, digest).await?;
        return Ok(describe(Reply::new(StatusCode::NOT_MODIFIED), digest).finish());
    }
    if let Some(url) = call.registry.redirect_blob(name, digest).await? {
        // Nobody may keep it: the URL is good for minutes.
        return Ok(Reply::new(StatusCode::TEMPORARY_REDIRECT)
            .header(DOCKER_CONTENT_DIGEST, digest)
            .header(LOCATION, url)
            .finish());
    }
    let mut asked = asked_range(call, digest);
    let content = match call.registry.get_blob(name, digest, asked).await {
        // Of nothing, the whole is as good as any part.
        Err(crate::registry::Error::RangeNotSatisfiable { size: 0 }) => {
            asked = ReadRange::Full;
            call.registry.get_blob(name, digest, asked).await?.content
        }
        held => held?.content,
    };
    let (range, size) = (content.range.clone(), content.size);
    let reply = Reply::with_body(status(asked), Body::content(content));
    Ok(content_headers(reply, digest, asked, &range, size).finish())
}

async fn delete(call: &Call<'_>, name: &RepositoryName, digest: &Digest) -> Result<Response<Body>, Problem> {
    if !call.options.delete {
        return Err(Problem::new(Code::Unsupported));
    }
    call.registry.delete_blob(name, digest).await?;
    Ok(Reply::new(StatusCode::ACCEPTED)
        .header(DOCKER_CONTENT_DIGEST, digest)
        .finish())
}

fn asked_range(call: &Call<'_>, digest: &Digest) -> ReadRange {
    call.headers
        .get(RANGE)
        .filter(|_| conditional::range_counts(call.headers, digest))
        .map_or(ReadRange::Full, range::parse)
}

fn status(asked: ReadRange) -> StatusCode {
    match asked {
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

fn content_headers(
    reply: Reply,
    digest: &Digest,
    asked: ReadRange,
    range: &std::ops::Range<u64>,
    size: u64,
) -> Reply {
    let reply = describe(reply, digest)
        .value(ACCEPT_RANGES, HeaderValue::from_static("bytes"))
        .value(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    match asked {
        ReadRange::Full => reply,
        ReadRange::From(_) | ReadRange::Between(..) | ReadRange::Last(_) => reply.header(
            CONTENT_RANGE,
            format!("bytes {}-{}/{size}", range.start, range.end - 1),
        ),
    }
}
