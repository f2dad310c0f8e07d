//! An HTTP/2 client without TLS for attacks, with windows of the attacker's choice.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::task::JoinHandle;

use super::http1;

/// Time limit for the server to announce its number of streams, or to accept one more.
const READY: Duration = Duration::from_millis(300);

/// One connection.
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// One request that was sent, with all that keeps it open.
pub(super) struct Stream {
    response: ResponseFuture,
    body: SendStream<Bytes>,
}

impl Connection {
    /// Connects. `window` is the number of bytes a stream of the server may send before it is given more.
    pub(super) async fn open(address: SocketAddr, window: u32) -> Result<Self> {
        let stream = http1::connect(address).await?;
        let (requests, connection) = client::Builder::new()
            .initial_window_size(window)
            .handshake(stream)
            .await
            .context("no HTTP/2 was spoken")?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { requests, driver })
    }

    /// Sends a request with an unfinished body. Gives `None` when the server takes no more requests.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        login: Option<&str>,
        has_body: bool,
    ) -> Result<Option<Stream>> {
        let ready = tokio::time::timeout(READY, self.requests.clone().ready()).await;
        let Ok(Ok(mut requests)) = ready else {
            return Ok(None);
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://attack.example{path}"));
        if let Some((name, value)) = login.and_then(|login| login.split_once(": ")) {
            request = request.header(name, value);
        }
        let Ok((response, body)) = requests.send_request(request.body(())?, !has_body) else {
            return Ok(None);
        };
        Ok(Some(Stream { response, body }))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Stream {
    /// Sends as many of `bytes` as the server's windows allow, until they allow no more for a moment. Gives the
    /// number of bytes.
    pub(super) async fn fill(&mut self, mut bytes: Bytes) -> usize {
        let whole = bytes.len();
        while !bytes.is_empty() {
            self.body.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|context| self.body.poll_capacity(context));
            let Ok(Some(Ok(capacity))) = tokio::time::timeout(READY, capacity).await else {
                break;
            };
            let part = bytes.split_to(capacity.min(bytes.len()));
            if self.body.send_data(part, false).is_err() {
                break;
            }
        }
        whole - bytes.len()
    }

    /// The head of the answer, if it comes within `limit`.
    pub(super) async fn answer(self, limit: Duration) -> Option<Response<RecvStream>> {
        tokio::time::timeout(limit, self.response).await.ok()?.ok()
    }
}
