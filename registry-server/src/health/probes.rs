//! The endpoints of `http.debug.addr`.
//!
//! Anybody may read `/livez`, `/readyz`, `/debug/health`, `/debug/storage` and the metrics, since probes and scrapers come from other machines.
//! Endpoints that change the server or show its internals answer the same machine alone. Distribution shows its internals to
//! everybody who reaches the address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::Health;
use crate::storage::Driver;
use crate::telemetry::metrics::{self, Metrics};

const TEXT: &str = "text/plain; charset=utf-8";

/// The endpoints.
#[derive(Debug, Clone)]
pub struct Probes {
    health: Health,
    metrics: Option<(String, Arc<Metrics>)>,
    storage: Option<Arc<dyn Driver>>,
}

impl Probes {
    /// Endpoints for this health.
    pub fn new(health: Health) -> Self {
        Self {
            health,
            metrics: None,
            storage: None,
        }
    }

    /// The same with metrics at this path, which then has no other meaning.
    #[must_use]
    pub fn with_metrics(self, path: String, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics: Some((path, metrics)),
            ..self
        }
    }

    /// The same with the size of this store's file system.
    #[must_use]
    pub fn with_storage(self, driver: Arc<dyn Driver>) -> Self {
        Self {
            storage: Some(driver),
            ..self
        }
    }

    /// Answers one request. `peer` is `None` on a unix socket.
    pub async fn respond<B>(&self, request: Request<B>, peer: Option<SocketAddr>) -> Response<Full<Bytes>> {
        if let Some((path, metrics)) = &self.metrics
            && path == request.uri().path()
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            let metrics = Arc::clone(metrics);
            return match tokio::task::spawn_blocking(move || metrics.text()).await {
                Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
                // The task panicked, which is logged; or the runtime ends.
                Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no metrics\n".to_owned()),
            };
        }
        if let Some(driver) = &self.storage
            && request.uri().path() == "/debug/storage"
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            return storage(driver.as_ref()).await;
        }
        self.probe(&request, peer)
    }

    fn probe<B>(&self, request: &Request<B>, peer: Option<SocketAddr>) -> Response<Full<Bytes>> {
        let (path, method) = (request.uri().path(), request.method());
        let local = peer.is_none_or(|peer| peer.ip().is_loopback());
        let inside = matches!(path, "/debug/health/down" | "/debug/health/up" | "/debug/vars");
        if inside && !local {
            let text = format!("{path} is answered to this machine only: over loopback or a unix socket\n");
            return answer(StatusCode::FORBIDDEN, TEXT, text);
        }
        if inside && is_led_here(request, peer) {
            let text = format!(
                "{path} is answered to no page of a browser; allowed as host: localhost, 127.0.0.1 and [::1]\n"
            );
            return answer(StatusCode::FORBIDDEN, TEXT, text);
        }
        let allowed: &[Method] = match path {
            "/debug/health/down" | "/debug/health/up" => &[Method::POST],
            _ => &[Method::GET, Method::HEAD],
        };
        if !allowed.contains(method) {
            let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            let text = format!("only {}\n", names.join(" and "));
            let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
            if let Ok(names) = names.join(", ").parse() {
                response.headers_mut().insert(header::ALLOW, names);
            }
            return response;
        }
        match path {
            // A process that is stuck does not get here.
            "/livez" => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" => {
                let lines: String = self
                    .health
                    .all()
                    .iter()
                    .map(|(check, trouble)| format!("{check}: {trouble}\n"))
                    .collect();
                match lines.is_empty() {
                    true => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
                    false => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines),
                }
            }
            "/debug/health" => {
                let troubles = self.health.all();
                let status = match troubles.is_empty() {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                };
                json(status, &serde_json::json!(troubles))
            }
            "/debug/health/down" | "/debug/health/up" => {
                self.health.set_down(path == "/debug/health/down");
                answer(StatusCode::OK, TEXT, String::new())
            }
            "/debug/vars" => {
                let arguments: Vec<_> = std::env::args_os()
                    .map(|argument| argument.to_string_lossy().into_owned())
                    .collect();
                json(
                    StatusCode::OK,
                    &serde_json::json!({ "cmdline": arguments, "version": env!("CARGO_PKG_VERSION") }),
                )
            }
            _ => answer(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned()),
        }
    }
}

/// The driver, and the size of its file system where it has one.
async fn storage(driver: &dyn Driver) -> Response<Full<Bytes>> {
    let mut found = serde_json::json!({ "driver": driver.name() });
    match driver.space().await {
        Ok(None) => json(StatusCode::OK, &found),
        Ok(Some(space)) => {
            found["capacityBytes"] = space.capacity.into();
            found["availableBytes"] = space.available.into();
            json(StatusCode::OK, &found)
        }
        // The driver has noted the cause, which `/readyz` tells.
        Err(_) => json(StatusCode::SERVICE_UNAVAILABLE, &found),
    }
}

/// Whether a foreign web page may have made a browser on this machine send the request: its origin is another host
/// (cross-site request forgery), or it uses a host name of its own for this machine (DNS rebinding).
fn is_led_here<B>(request: &Request<B>, peer: Option<SocketAddr>) -> bool {
    let header = |name| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap_or("?"))
    };
    let host = request
        .uri()
        .authority()
        .map(Authority::as_str)
        .or_else(|| header(header::HOST));
    // No browser uses a unix socket, and programs that do send any host.
    let is_renamed = peer.is_some() && host.is_some_and(|host| !is_this_machine(host));
    let is_foreign = header(header::ORIGIN).is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none() || authority != host
    });
    is_renamed || is_foreign
}

/// Whether a host is a name of this machine that no name server can give to a foreign page.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    answer(status, "application/json", value.to_string())
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
