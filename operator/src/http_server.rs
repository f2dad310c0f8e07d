//! A small HTTP server for probes, metrics and support.
//!
//! Guarantees: clients that open connections and send nothing keep no other client from being answered, and use up nothing.
//! Must not: be used for anything that a client may send much to. Start at [`serve`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;

/// The most connections that are open at a time.
const CONNECTIONS_MAX: usize = 64;
/// Time limit for a request's headers.
const REQUEST: Duration = Duration::from_secs(10);
/// The delay after a connection that could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(250);

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// A text as an answer.
pub(crate) fn answer(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut text: String = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

/// Answers requests at `address` in the background, for as long as the process runs. Gives the address with its port.
///
/// # Errors
/// The address cannot be listened on.
pub fn serve<F>(
    address: SocketAddr,
    purpose: &'static str,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> anyhow::Result<SocketAddr>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = listen(address).with_context(|| format!("cannot listen on {address} for {purpose}"))?;
    let bound = listener.local_addr().context("a listener without an address")?;
    tracing::info!(purpose, address = %bound, "listening");
    tokio::spawn(answer_on(listener, Arc::new(answer)));
    Ok(bound)
}

/// Listens on `address`. `[::]` takes IPv4 too, whatever the node's default is; a node without IPv6 has `0.0.0.0` for
/// it.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if address.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    match bind(address) {
        Err(error) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            // The first error says more when IPv4 does not help either.
            bind(ipv4).map_err(|_| error)
        }
        other => other,
    }
}

async fn answer_on<F>(
    listener: TcpListener,
    answer: Arc<impl Fn(Request<Incoming>) -> F + Send + Sync + 'static>,
) where
    F: Future<Output = Answer> + Send + 'static,
{
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
            // The failure is one client's, or the process has no file descriptor left. In the second case accepting again
            // at once would only use up the CPU.
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let answer = Arc::clone(&answer);
        let task = tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
        answering.push_back(task.abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn requests_are_answered_over_ipv4_and_ipv6() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let loopbacks = match listener.local_addr().unwrap() {
            SocketAddr::V6(_) => vec!["127.0.0.1", "::1"],
            SocketAddr::V4(_) => vec!["127.0.0.1"],
        };
        for loopback in loopbacks {
            let address: IpAddr = loopback.parse().unwrap();
            let connected = TcpStream::connect((address, port)).await;
            assert!(connected.is_ok(), "{loopback}: {connected:?}");
        }
    }

    #[tokio::test]
    async fn connections_that_say_nothing_keep_no_other_from_being_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(answer_on(
            listener,
            Arc::new(|_| std::future::ready(answer(StatusCode::OK, "ok"))),
        ));
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
