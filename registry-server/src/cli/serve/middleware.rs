//! What stands around every request: whether it may be answered, its id, its line in the access log.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;

use super::request_log::{RequestBody, RequestLog, ResponseBody};
use crate::auth::Identity;
use crate::health::Health;
use crate::http::metrics::Metrics;
use crate::http::server::{ConnectionInfo, ConnectionMetrics};
use crate::http::{App, Body, Code, NoMemory, Problem};
use crate::telemetry::access_log::AccessLogEntry;
use crate::telemetry::{self, Sink};

/// Where a client finds the id to look for in the log. Only on answers that need it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why nothing is answered, in distribution's words: what is wrong is nothing for strangers.
const OUT_OF_SERVICE: &str = "health check failed: please see /debug/health";

/// Answers the main address.
#[derive(Debug)]
pub(super) struct Middleware {
    pub(super) app: App,
    pub(super) health: Health,
    pub(super) metrics: Option<Metrics>,
    /// Nothing when it is switched off.
    pub(super) access_log: Option<Sink>,
    pub(super) connection_metrics: ConnectionMetrics,
}

impl Middleware {
    /// Answers one request. Dropped half-way it still leaves its line in the access log.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: ConnectionInfo,
    ) -> Response<ResponseBody<Body>> {
        let ConnectionInfo { peer, memory } = connection;
        let address = self.app.client_address(request.headers(), &peer);
        let line = self.access_log.as_ref().map(|sink| {
            let entry = AccessLogEntry::new(
                address,
                request.method(),
                request.uri(),
                request.version(),
                request.headers(),
            );
            (sink.clone(), entry)
        });
        let in_flight = self.metrics.as_ref().and_then(|metrics| {
            let handler = self.app.handler(request.uri())?;
            Some(metrics.start(handler, request.method(), request.uri(), request.headers()))
        });
        let about = telemetry::request::RequestInfo::new(&request, peer.address, address);
        let mut log = RequestLog::new(Arc::clone(&about), line, in_flight);
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&about)));
        let answered = async {
            if self.health.is_out_of_service() {
                let response = out_of_service(request.method());
                self.app.refuse(request, response).await
            } else {
                self.app.respond(request, peer).await
            }
        };
        let mut response = Arc::clone(&about).scope(answered).await;
        if response.status().is_server_error()
            && let Ok(id) = HeaderValue::from_str(&about.id().to_string())
        {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let (parts, body) = response.into_parts();
        let mut response = match body.within(&memory) {
            Ok(body) => Response::from_parts(parts, body),
            Err(NoMemory) => {
                self.connection_metrics.no_memory();
                Response::from(Problem::unavailable(Some(Duration::from_secs(1))))
            }
        };
        let user = response
            .extensions_mut()
            .remove::<Identity>()
            .and_then(|identity| identity.name);
        log.answered(response.status(), user);
        response.map(|body| log.watch(body))
    }
}

/// The answer to everything, `/` included, before any question of who asks.
fn out_of_service(method: &Method) -> Response<Body> {
    let response = Response::from(Problem::with(Code::Unavailable, OUT_OF_SERVICE));
    match *method {
        Method::HEAD => response.map(|_| Body::empty()),
        _ => response,
    }
}
