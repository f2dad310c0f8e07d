//! The client for the API server: a time limit on every request, and when the API server last answered.
//!
//! Guarantees: a request ends within [`REQUEST`], whatever becomes of its connection; so does each wait for a further
//! part of an answer. A watch has no limit of its own here: its events may be minutes apart, and the watches notice a
//! connection without events. A delay that the API server asks for by `Retry-After` is in the error. Must not: repeat
//! a request, because only a reconcile knows whether it is still wanted.
//! Start at [`with_connection_limits`] and [`for_the_operator`].

mod limited_body;
mod write_through;

use std::time::Duration;

use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::core::Status;
use kube::core::response::StatusDetails;
use kube::{Client, Config};
use tokio::time::{sleep, timeout};

use crate::cache::Cache;
use crate::health::Health;
pub use limited_body::NoAnswer;
use limited_body::{Failure, LimitedBody};

/// Time limit for the start of an answer, and for each further part of it.
pub const REQUEST: Duration = Duration::from_secs(15);
/// Time limit for a new connection.
const CONNECT: Duration = Duration::from_secs(5);
/// After so long without an answer the API server is asked for its health.
const QUIET: Duration = Duration::from_secs(10);
/// The delay after a question for its health that was not answered.
const NEXT_QUESTION: Duration = Duration::from_secs(2);

/// The log filter unless the command line says otherwise: the operator's own lines. kube's watches log each failure in
/// full, which may be 12 KB, and its client each answer above 499, which the operator logs with what it was about.
pub const DEFAULT_LOG: &str = "info,kube_runtime::watcher=off,kube_client::client=off";

/// Bounds what a client does with its connections.
#[must_use]
pub fn with_connection_limits(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(REQUEST);
    // A request that the API server puts off would hold up its reconcile for minutes.
    config.default_retry = false;
    config
}

/// Gives every request of `client` a time limit. `health` is told of each answer, and the objects of
/// the operator's own writes go into `cache`.
pub fn for_the_operator(client: &Client, health: &Health, cache: &Cache) -> Client {
    with_limit(client, health, cache, REQUEST)
}

fn with_limit(client: &Client, health: &Health, cache: &Cache, limit: Duration) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (client, health, cache) = (client.clone(), health.clone(), cache.clone());
    let service =
        tower::service_fn(move |request| send(client.clone(), health.clone(), cache.clone(), limit, request));
    Client::new(service, namespace)
}

async fn send(
    client: Client,
    health: Health,
    cache: Cache,
    limit: Duration,
    request: Request<Body>,
) -> Result<Response<LimitedBody>, Failure> {
    let watch = is_watch(&request);
    let deletes = request.method() == Method::DELETE;
    let (request, written) = write_through::announce(&cache, request).await?;
    let answer = timeout(limit, client.send(request))
        .await
        .map_err(|_| NoAnswer(limit))??;
    let progress = is_progress(answer.status());
    if progress {
        health.answered();
    }
    let delay = retry_after(&answer);
    let limited =
        answer.map(|body| LimitedBody::new(body, (!watch).then_some(limit), progress.then_some(health)));
    match (delay, written) {
        (Some(seconds), _) => with_retry_after(limited, seconds).await,
        (None, Some(ticket)) => write_through::settle(&cache, ticket, deletes, limited).await,
        (None, None) => Ok(limited),
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| pair == "watch=true" || pair == "watch=1")
}

/// Whether the API server does its work. An operator whose token has ended, or that is always put off, gets nothing
/// done.
fn is_progress(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::UNAUTHORIZED && status != StatusCode::TOO_MANY_REQUESTS
}

fn retry_after(answer: &Response<Body>) -> Option<u32> {
    let header = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let refused = answer.status().is_client_error() || answer.status().is_server_error();
    header.trim().parse().ok().filter(|_| refused)
}

/// Writes the delay of the header into the answer's `Status`: kube's error has no headers. The API server's flow
/// control answers in plain text.
async fn with_retry_after(
    answer: Response<LimitedBody>,
    seconds: u32,
) -> Result<Response<LimitedBody>, Failure> {
    let (mut head, body) = answer.into_parts();
    let text = body.collect().await?.to_bytes();
    let mut status = serde_json::from_slice::<Status>(&text).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&text);
        Status::failure(text.trim(), "TooManyRequests").with_code(head.status.as_u16())
    });
    let details = status.details.get_or_insert_with(|| StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    });
    details.retry_after_seconds = details.retry_after_seconds.max(seconds);
    head.headers.remove(CONTENT_LENGTH);
    let body = LimitedBody::whole(serde_json::to_vec(&status)?);
    Ok(Response::from_parts(head, body))
}

/// Asks the API server for its health whenever it has not answered for [`QUIET`], for ever. Without Registries, and
/// between the bookmarks of the watches, nothing else would show whether it still answers.
pub async fn ask_when_quiet(client: Client, health: Health) {
    loop {
        let quiet = health.since_last_answer();
        if let Some(rest) = QUIET.checked_sub(quiet).filter(|rest| !rest.is_zero()) {
            sleep(rest).await;
            continue;
        }
        let request = Request::get("/readyz").body(Vec::new()).unwrap_or_default();
        if let Err(error) = client.request_text(request).await {
            tracing::debug!(%error, "the API server does not say that it is ready");
        }
        if health.since_last_answer() >= QUIET {
            sleep(NEXT_QUESTION).await;
        }
    }
}

#[cfg(test)]
mod tests;
