//! `/v2/<name>/manifests/<reference>` ("Pulling manifests", "Pushing manifests" and "Deleting manifests", OCI
//! distribution 1.1).

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, WARNING};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use registry_oci::{MANIFEST_MAX, MediaType, Reference, RepositoryName, Tag};

use super::body::RequestBody;
use super::body_timeout::IdleTimeout;
use super::buffered::{self, Buffered, Limits};
use super::problem::{Code, Problem};
use super::reply::{DOCKER_CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG, Reply};
use super::request_context::RequestContext;
use super::{Body, conditional, warning};
use crate::fault::chain;
use crate::registry::{Accepts, Error};

/// The most `tag` parameters of one push. The main branch of OCI distribution requires at least ten.
const TAGS_MAX: usize = 64;

/// The `Retry-After` in seconds when there is no memory for a manifest.
const RETRY_SECONDS: u32 = 5;

pub(super) async fn respond<B: RequestBody>(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    reference: &str,
    body: B,
) -> Result<Response<Body>, Problem> {
    match (context.method, Reference::parse(reference)) {
        (&Method::PUT, reference) => put(context, name, &reference?, body).await,
        // No manifest can have an invalid tag.
        (_, Err(error @ registry_oci::Error::InvalidTag { .. })) => {
            Err(Problem::with(Code::ManifestUnknown, error.to_string()))
        }
        (&Method::DELETE, reference) => delete(context, name, &reference?).await,
        (_, reference) => get(context, name, &reference?).await,
    }
}

/// GET and HEAD.
async fn get(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, Problem> {
    let accepts = accepts(context.headers);
    let stored = match context.method {
        &Method::HEAD => context.registry.head_manifest(name, reference, &accepts).await?,
        _ => context.registry.get_manifest(name, reference, &accepts).await?,
    };
    let reply = if conditional::is_not_modified(context.headers, &stored.digest) {
        Reply::new(StatusCode::NOT_MODIFIED)
    } else {
        Reply::with_body(StatusCode::OK, Body::whole(stored.bytes)).header(CONTENT_TYPE, &stored.media_type)
    };
    Ok(reply
        .header(DOCKER_CONTENT_DIGEST, stored.digest)
        .header(ETAG, conditional::etag(&stored.digest))
        .finish())
}

async fn put<B: RequestBody>(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    reference: &Reference,
    body: B,
) -> Result<Response<Body>, Problem> {
    let tags: Vec<Tag> = context
        .query
        .all("tag")
        .take(TAGS_MAX + 1)
        .map(Tag::parse)
        .collect::<Result<_, _>>()?;
    if tags.len() > TAGS_MAX {
        return Err(
            Problem::with(Code::TagInvalid, format!("more than {TAGS_MAX} `tag` parameters"))
                .status(StatusCode::URI_TOO_LONG),
        );
    }
    let media_type = match context.headers.get(CONTENT_TYPE).map(HeaderValue::to_str) {
        Some(Ok(text)) => MediaType::parse(text)?,
        Some(Err(_)) | None => {
            return Err(Problem::with(
                Code::ManifestInvalid,
                "the `Content-Type` of the manifest is missing",
            ));
        }
    };
    // The share of the memory is held until the manifest is stored.
    let Buffered { bytes, share: _share } = collect(context, body).await?;
    let pushed = context
        .registry
        .put_manifest(name, reference, &media_type, bytes, &tags)
        .await?;
    let mut reply = Reply::new(StatusCode::CREATED)
        .header(LOCATION, context.locations.manifest(name, &pushed.digest))
        .header(DOCKER_CONTENT_DIGEST, pushed.digest);
    if let Some(subject) = pushed.subject {
        reply = reply.header(OCI_SUBJECT, subject);
    }
    for warning in warning::of(&pushed.notices) {
        reply = reply.header(WARNING, warning);
    }
    for tag in &tags {
        reply = reply.header(OCI_TAG, tag);
    }
    Ok(reply.finish())
}

async fn delete(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, Problem> {
    // Covers tags as well: before 3.1.1, distribution deleted them even when deletion was disabled (CVE-2026-41888).
    if !context.options.delete {
        return Err(Problem::new(Code::Unsupported));
    }
    match reference {
        Reference::Tag(tag) => context.registry.delete_tag(name, tag).await?,
        Reference::Digest(digest) => context.registry.delete_manifest(name, digest).await?,
    }
    Ok(Reply::new(StatusCode::ACCEPTED).finish())
}

/// Reads the whole body, at most as many bytes as a manifest may have.
async fn collect<B: RequestBody>(context: &RequestContext<'_>, body: B) -> Result<Buffered, Problem> {
    let limit = MANIFEST_MAX as u64;
    let too_large = |size| Problem::from(Error::ManifestTooLarge { size, limit });
    let unfinished = || Problem::with(Code::ManifestInvalid, "the manifest did not come to its end");
    let announced = context
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(size) = announced
        && size > limit
    {
        return Err(too_large(size));
    }
    let limits = Limits {
        memory: context.registry.request_memory(),
        size: MANIFEST_MAX,
        timeout: context.options.body_timeout,
        memory_wait: buffered::MEMORY_WAIT,
    };
    let collected = buffered::collect(body, limits).await.map_err(|error| {
        tracing::debug!(error = chain(&error), "a manifest was not read to its end");
        match error {
            buffered::Error::Broken(source) if source.is::<IdleTimeout>() => {
                unfinished().status(StatusCode::REQUEST_TIMEOUT)
            }
            buffered::Error::Broken(_) => unfinished(),
            buffered::Error::Slow => unfinished().status(StatusCode::REQUEST_TIMEOUT),
            buffered::Error::TooLarge { size } => too_large(size),
            // Clients that retry do so after 429 and not after 503.
            buffered::Error::NoMemory => {
                Problem::with(Code::TooManyRequests, error.to_string()).header(RETRY_AFTER, RETRY_SECONDS)
            }
        }
    })?;
    match announced {
        Some(announced) if announced != collected.bytes.len() as u64 => Err(unfinished()),
        Some(_) | None => Ok(collected),
    }
}

/// The media types of the `Accept` headers. Without a header, or with a wildcard in one, every type is accepted.
fn accepts(headers: &HeaderMap) -> Accepts {
    let mut types = Vec::new();
    let mut any = true;
    for item in headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        any = false;
        match item.split(';').next().map(str::trim) {
            Some("*/*" | "application/*") => return Accepts::Anything,
            Some(item) => types.extend(MediaType::parse(item)),
            None => {}
        }
    }
    if any {
        Accepts::Anything
    } else {
        Accepts::Only(types)
    }
}
