//! The operator's own probes: `/livez` while the process runs, `/readyz` once the API server has listed the Registries.
//!
//! Guarantees: clients that open connections and send nothing keep no probe from being answered. Must not: depend on a
//! step. Start at [`Health`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// The most connections that are open at a time. The kubelet needs one.
const CONNECTIONS_MAX: usize = 64;
/// Time limit for a request's headers.
const REQUEST: Duration = Duration::from_secs(10);
/// The delay after a connection that could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(250);

/// Whether the API server has listed the Registries. Shared by the controller, which sets it, and the probes.
#[derive(Clone, Debug, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// The API server has listed the Registries.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Whether the API server has listed the Registries.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Answers probes at `address` in the background, for as long as the process runs.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve(&self, address: SocketAddr) -> anyhow::Result<()> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} for probes"))?;
        tokio::spawn(self.clone().answer_on(listener));
        Ok(())
    }

    async fn answer_on(self, listener: TcpListener) {
        let mut answering: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            // Clients that open connections and send nothing lose the oldest one.
            if answering.len() >= CONNECTIONS_MAX
                && let Some(oldest) = answering.pop_front()
            {
                oldest.abort();
            }
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The failure is one client's, or the process has no file descriptor left. In the second case accepting
                // again at once would only use up the CPU.
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection of a probe");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            let health = self.clone();
            let task = tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let response = health.answer(&request);
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection of a probe broke");
                }
            });
            answering.push_back(task.abort_handle());
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match request.uri().path() {
            "/livez" => (StatusCode::OK, "ok\n"),
            "/readyz" if self.is_ready() => (StatusCode::OK, "ok\n"),
            "/readyz" => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the API server has not listed the Registries yet\n",
            ),
            _ => (StatusCode::NOT_FOUND, "only /livez and /readyz are here\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn connections_that_say_nothing_keep_no_probe_from_being_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(Health::default().answer_on(listener));
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // The oldest one is gone, whether it reads that as an end or as a reset.
        assert!(matches!(silent[0].read(&mut [0; 1]).await, Ok(0) | Err(_)));
        serving.abort();
    }
}
