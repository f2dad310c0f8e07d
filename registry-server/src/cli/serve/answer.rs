//! What stands around every request: its id, its line in the access log.

use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tracing::Instrument;
use uuid::Uuid;

use crate::auth::Identity;
use crate::http::server::Client;
use crate::http::{App, Body, Peer};
use crate::telemetry::access::{Entry, Watched};

/// Where a client finds the id to look for in the log. Only on answers that need it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers one request.
pub(super) async fn answer(
    app: App,
    request: Request<Incoming>,
    client: Client,
    access_log: bool,
) -> Response<Watched<Body>> {
    let peer = Peer {
        address: client.address,
        tls: client.tls,
    };
    let entry = access_log.then(|| {
        Entry::new(
            app.client_address(request.headers(), &peer),
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
        )
    });
    let id = Uuid::new_v4();
    // At the highest level, so that the lines inside carry the id whatever `log.level` is.
    let span = tracing::error_span!("request", "http.request.id" = %id);
    let mut response = app.respond(request, peer).instrument(span).await;
    if response.status().is_server_error()
        && let Ok(id) = HeaderValue::from_str(&id.to_string())
    {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let user = response
        .extensions_mut()
        .remove::<Identity>()
        .and_then(|identity| identity.name);
    let status = response.status();
    response.map(|body| match entry {
        Some(entry) => entry.watch(status, user, body),
        None => Watched::silent(body),
    })
}
