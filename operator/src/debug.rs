//! The address for support: the recent reconciles, and the log's filter, which it changes.
//!
//! Guarantees: only on a loopback address, so that whoever uses it has the right to a shell in the Pod or to forward a port
//! from it; a web page cannot use it through a person's browser; no answer holds anything of a spec or a Secret.
//! Start at [`serve`].

use std::net::SocketAddr;

use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::http_server::{self, Answer, answer};
use crate::log::LogFilter;
use crate::recent::RecentReconciles;

/// The longest filter that is read, in bytes.
const FILTER_MAX: usize = 4096;

/// Answers at `address` in the background. Gives the address with its port.
///
/// # Errors
/// The address is not a loopback address, or cannot be listened on.
pub fn serve(address: SocketAddr, recent: RecentReconciles, filter: LogFilter) -> anyhow::Result<SocketAddr> {
    anyhow::ensure!(
        address.ip().is_loopback(),
        "--debug-address must be a loopback address, such as 127.0.0.1:8082, because it has no login; got {address}"
    );
    http_server::serve(address, "support", move |request| {
        let (recent, filter) = (recent.clone(), filter.clone());
        async move { respond(request, &recent, &filter).await }
    })
}

async fn respond(request: Request<Incoming>, recent: &RecentReconciles, filter: &LogFilter) -> Answer {
    if request.headers().contains_key(ORIGIN) {
        return answer(StatusCode::FORBIDDEN, "not for web pages");
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/debug/reconciles") => {
            let mut json = answer(StatusCode::OK, recent.json());
            let type_ = HeaderValue::from_static("application/json");
            json.headers_mut().insert(CONTENT_TYPE, type_);
            json
        }
        (&Method::GET, "/debug/log") => answer(StatusCode::OK, filter.current()),
        (&Method::PUT, "/debug/log") => change(request, filter).await,
        (_, "/debug/reconciles" | "/debug/log") => answer(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET /debug/reconciles, GET /debug/log, or PUT /debug/log with a filter",
        ),
        _ => answer(
            StatusCode::NOT_FOUND,
            "only /debug/reconciles and /debug/log are here",
        ),
    }
}

async fn change(request: Request<Incoming>, filter: &LogFilter) -> Answer {
    let Ok(body) = Limited::new(request.into_body(), FILTER_MAX).collect().await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, "a filter has at most 4096 bytes");
    };
    let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
    match filter.set(&text) {
        Ok(()) => {
            tracing::info!(filter = filter.current(), "the log's filter was changed");
            answer(StatusCode::OK, filter.current())
        }
        Err(sentence) => answer(StatusCode::BAD_REQUEST, sentence),
    }
}
