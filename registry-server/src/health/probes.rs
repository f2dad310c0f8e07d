//! What `http.debug.addr` answers.
//!
//! Anybody may read `/livez`, `/readyz`, `/debug/health` and the metrics: probes and scrapers come from elsewhere.
//! What changes the server or shows its inside is for those on the same machine; distribution shows its inside to
//! everybody who reaches the address.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::Health;
use crate::telemetry::metrics::{self, Metrics};

const TEXT: &str = "text/plain; charset=utf-8";

/// The endpoints.
#[derive(Debug, Clone)]
pub struct Probes {
    health: Health,
    metrics: Option<(String, Arc<Metrics>)>,
}

impl Probes {
    /// Probes of this knowledge.
    pub fn new(health: Health) -> Self {
        Self {
            health,
            metrics: None,
        }
    }

    /// And metrics at this path, which then has no other meaning.
    #[must_use]
    pub fn with_metrics(self, path: String, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics: Some((path, metrics)),
            ..self
        }
    }

    /// Answers one request. `peer` is nobody's address on a unix socket.
    pub async fn respond<B>(&self, request: Request<B>, peer: Option<SocketAddr>) -> Response<Full<Bytes>> {
        if let Some((path, metrics)) = &self.metrics
            && path == request.uri().path()
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            let metrics = Arc::clone(metrics);
            return match tokio::task::spawn_blocking(move || metrics.text()).await {
                Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
                // It panicked, which is logged; or the runtime ends.
                Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no metrics\n".to_owned()),
            };
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
            // That this code runs is the whole answer: a process that is stuck does not get here.
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
