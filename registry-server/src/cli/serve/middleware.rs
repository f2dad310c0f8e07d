//! The middleware of every request: the answer while the server is out of service, the request id, the access log, the
//! metrics.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;

use super::request_log::{LoggedRequestBody, LoggedResponseBody, RequestLog};
use crate::auth::Identity;
use crate::health::Health;
use crate::http::metrics::Metrics;
use crate::http::server::{ConnectionInfo, ConnectionMetrics};
use crate::http::{App, Body, Code, NoMemory, Problem};
use crate::telemetry::access_log::AccessLogEntry;
use crate::telemetry::{self, Sink};

/// The header with the id of the request in the log. Only server errors have it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The error detail while the server is out of service, in distribution's words. It does not name the failing check,
/// because any client may read it.
const OUT_OF_SERVICE: &str = "health check failed: please see /debug/health";

/// Answers the requests of the main address.
#[derive(Debug)]
pub(super) struct Middleware {
    pub(super) app: App,
    pub(super) health: Health,
    pub(super) metrics: Option<Metrics>,
    /// The access log, unless it is switched off.
    pub(super) access_log: Option<Sink>,
    pub(super) connection_metrics: ConnectionMetrics,
}

impl Middleware {
    /// Answers one request. If the future is dropped half-way, the request still gets its line in the access log.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: ConnectionInfo,
    ) -> Response<LoggedResponseBody<Body>> {
        let ConnectionInfo { peer, memory } = connection;
        let address = self.app.client_address(request.headers(), &peer);
        let access = self.access_log.as_ref().map(|sink| {
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
        let info = telemetry::request::RequestInfo::new(&request, peer.address, address);
        let mut log = RequestLog::new(Arc::clone(&info), access, in_flight);
        let request = request.map(|body| LoggedRequestBody::new(body, Arc::clone(&info)));
        let answered = async {
            if self.health.is_out_of_service() {
                let response = out_of_service(request.method());
                self.app.refuse(request, response).await
            } else {
                self.app.respond(request, peer).await
            }
        };
        let mut response = Arc::clone(&info).scope(answered).await;
        if response.status().is_server_error()
            && let Ok(id) = HeaderValue::from_str(&info.id().to_string())
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

/// The answer to every request, that for `/` included, before any login.
fn out_of_service(method: &Method) -> Response<Body> {
    let response = Response::from(Problem::with(Code::Unavailable, OUT_OF_SERVICE));
    match *method {
        Method::HEAD => response.map(|_| Body::empty()),
        _ => response,
    }
}
