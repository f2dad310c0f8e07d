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
/// `[::]` takes IPv4 as well; where there is no IPv6, `0.0.0.0` is taken instead.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve<F>(
    address: SocketAddr,
    purpose: &'static str,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> anyhow::Result<SocketAddr>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = bind(address).with_context(|| format!("cannot listen on {address} for {purpose}"))?;
    let bound = listener.local_addr().context("a listener without an address")?;
    tokio::spawn(answer_on(listener, Arc::new(answer)));
    Ok(bound)
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match listen(address) {
        Err(_) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        other => other,
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        // Linux lets `[::]` take IPv4 too, unless `net.ipv6.bindv6only` is set.
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
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
