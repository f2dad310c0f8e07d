//! `/v2/<name>/blobs/uploads/` and `/v2/<name>/blobs/uploads/<id>` ("Pushing blobs", OCI distribution 1.1).

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyDataStream;
use jiff::Timestamp;
use registry_oci::{Digest, RepositoryName, UploadId};

use super::body::{BodyError, RequestBody};
use super::problem::{Code, Problem};
use super::range::ChunkRange;
use super::reply::{DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID, OCI_CHUNK_MIN_LENGTH, Reply};
use super::request_context::RequestContext;
use super::upload_state::UploadState;
use super::{Body, range};
use crate::registry::{BlobDescriptor, Chunk, Error, Offset, Progress, Resume, Session};

/// The recommended minimum size of a chunk (`OCI-Chunk-Min-Length`, OCI distribution 1.1, "Pushing a blob in chunks").
/// Smaller chunks are accepted as well. Each chunk is made durable by itself, which for a few bytes costs more than the
/// bytes.
const CHUNK_MIN: u64 = 64 * 1024;

/// POST: starts an upload, mounts a blob, or stores a whole blob.
pub(super) async fn start<B: RequestBody>(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    body: B,
) -> Result<Response<Body>, Problem> {
    if let Some(digest) = context.query.get("mount") {
        // When a mount fails, for whatever reason, an upload starts instead, and the client continues with that.
        let from = context.query.get("from").map(RepositoryName::parse).transpose();
        if let (Ok(digest), Ok(from)) = (Digest::parse(digest), from)
            && let Some(blob) = context.registry.mount_blob(name, &digest, from.as_ref()).await?
        {
            return Ok(created(context, name, &blob));
        }
    }
    let digest = match (context.query.get("mount"), context.query.get("digest")) {
        // Every registry ignores an empty `digest`.
        (None, Some(digest)) if !digest.is_empty() => Some(Digest::parse(digest)?),
        (Some(_) | None, _) => None,
    };
    let progress = context.registry.start_upload(name).await?;
    let Some(digest) = digest else {
        let mut response = accepted(context, name, &progress, StatusCode::ACCEPTED, None);
        response
            .headers_mut()
            .insert(OCI_CHUNK_MIN_LENGTH, CHUNK_MIN.into());
        return Ok(response);
    };
    let chunk = Chunk {
        offset: Offset::At(0),
        length: content_length(context.headers),
        counted: false,
    };
    let stored = context
        .registry
        .finish_upload(name, &progress, chunk, &digest, chunks(body))
        .await;
    if stored.is_err() {
        // The client does not know this upload and cannot continue it.
        if let Err(error) = context.registry.cancel_upload(name, &progress).await {
            tracing::debug!(%error, "a failed single POST left no upload to cancel");
        }
    }
    Ok(created(context, name, &stored?))
}

/// GET, HEAD, PATCH, PUT and DELETE of one upload.
pub(super) async fn respond<B: RequestBody>(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    id: &str,
    body: B,
) -> Result<Response<Body>, Problem> {
    let id = UploadId::parse(id)?;
    match *context.method {
        Method::PATCH => patch(context, name, &id, body).await,
        Method::PUT => put(context, name, &id, body).await,
        Method::DELETE => {
            let state = state(context, name, &id)?;
            context.registry.cancel_upload(name, state.session(&id)).await?;
            Ok(Reply::new(StatusCode::NO_CONTENT)
                .header(DOCKER_UPLOAD_UUID, &id)
                .finish())
        }
        // The token is not required: this is how a client without a valid token finds out where to continue, for
        // example after the secret has changed. A client that knows the path may know the progress.
        _ => {
            let known = state(context, name, &id).ok();
            let session = known
                .as_ref()
                .map_or_else(|| Session::from(&id), |state| state.session(&id));
            let progress = context.registry.upload_progress(name, session).await?;
            Ok(accepted(context, name, &progress, StatusCode::NO_CONTENT, known))
        }
    }
}

async fn patch<B: RequestBody>(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    id: &UploadId,
    body: B,
) -> Result<Response<Body>, Problem> {
    let state = state(context, name, id)?;
    let chunk = chunk(context, name, id, &state).await?;
    let appended = context
        .registry
        .append_upload(name, state.session(id), chunk, chunks(body))
        .await;
    match appended {
        Ok(progress) => Ok(accepted(
            context,
            name,
            &progress,
            StatusCode::ACCEPTED,
            Some(state),
        )),
        Err(error) => Err(with_continuation(context, name, id, &state, error)),
    }
}

async fn put<B: RequestBody>(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    id: &UploadId,
    body: B,
) -> Result<Response<Body>, Problem> {
    let state = state(context, name, id)?;
    let digest = context.query.get("digest").unwrap_or_default();
    if digest.is_empty() {
        return Err(Problem::with(
            Code::DigestInvalid,
            "the `digest` parameter is missing",
        ));
    }
    let digest = Digest::parse(digest)?;
    let chunk = chunk(context, name, id, &state).await?;
    match context
        .registry
        .finish_upload(name, state.session(id), chunk, &digest, chunks(body))
        .await
    {
        Ok(blob) => Ok(created(context, name, &blob)),
        Err(error) => Err(with_continuation(context, name, id, &state, error)),
    }
}

/// The state in the request's token, which must be signed and of this upload.
fn state(context: &RequestContext<'_>, name: &RepositoryName, id: &UploadId) -> Result<UploadState, Problem> {
    context
        .query
        .get("_state")
        .and_then(|token| UploadState::open(token, &context.options.secrets, name, id))
        .ok_or_else(|| {
            Problem::with(
                Code::BlobUploadInvalid,
                "the `_state` parameter is not of this upload",
            )
        })
}

/// The place of the body in the upload. `Content-Range` takes precedence over the token, because it is newer.
async fn chunk(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    id: &UploadId,
    state: &UploadState,
) -> Result<Chunk, Problem> {
    let length = content_length(context.headers);
    // An empty header counts as absent.
    let Some(value) = context
        .headers
        .get(CONTENT_RANGE)
        .filter(|value| !value.is_empty())
    else {
        return Ok(Chunk {
            offset: Offset::At(state.offset),
            length,
            counted: false,
        });
    };
    let malformed = || Problem::with(Code::RangeInvalid, "`Content-Range` is written `<first>-<last>`");
    let range = ChunkRange::parse(value).ok_or_else(malformed)?;
    match length {
        Some(length) if length != range.length => {
            // A chunk out of order is answered with 416, whatever else is wrong with it ("Pushing a blob in chunks").
            let progress = context.registry.upload_progress(name, state.session(id)).await?;
            if progress.size != range.start {
                let error = Error::UploadOffset {
                    id: id.clone(),
                    expected: range.start,
                    actual: progress.size,
                };
                return Err(with_continuation(context, name, id, state, error));
            }
            Err(Problem::with(
                Code::SizeInvalid,
                format!(
                    "`Content-Range` has {} bytes, `Content-Length` {length}",
                    range.length
                ),
            ))
        }
        Some(_) | None => Ok(Chunk {
            offset: Offset::At(range.start),
            length: Some(range.length),
            counted: true,
        }),
    }
}

/// The response to an error. It carries the location to continue at, if the upload can continue.
fn with_continuation(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    id: &UploadId,
    state: &UploadState,
    error: Error,
) -> Problem {
    match &error {
        Error::UploadOffset { actual, .. } | Error::UploadOvertaken { actual, .. } => {
            let resume = state.session(id).resume.map(|_| Resume::Recorded);
            let state = UploadState::new(name, id, *actual, state.started_at.clone(), resume);
            let location = context
                .locations
                .upload(name, id, &state.seal(&context.options.secrets));
            Problem::from(error)
                .header(LOCATION, location)
                .header(DOCKER_UPLOAD_UUID, id)
        }
        _ => Problem::from(error),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn chunks<B: RequestBody>(body: B) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static {
    BodyDataStream::new(body).map_err(Into::into)
}

fn accepted(
    context: &RequestContext<'_>,
    name: &RepositoryName,
    progress: &Progress,
    status: StatusCode,
    known: Option<UploadState>,
) -> Response<Body> {
    let Progress { id, size, resume } = progress;
    let started_at = known.map_or_else(|| Timestamp::now().to_string(), |state| state.started_at);
    let token = UploadState::new(name, id, *size, started_at, resume.clone()).seal(&context.options.secrets);
    Reply::new(status)
        .header(LOCATION, context.locations.upload(name, id, &token))
        .header(RANGE, range::of_upload(*size))
        .header(DOCKER_UPLOAD_UUID, id)
        .finish()
}

fn created(context: &RequestContext<'_>, name: &RepositoryName, blob: &BlobDescriptor) -> Response<Body> {
    Reply::new(StatusCode::CREATED)
        .header(LOCATION, context.locations.blob(name, &blob.digest))
        .header(DOCKER_CONTENT_DIGEST, blob.digest)
        .finish()
}
