//! The listener: accepts connections, speaks TLS and HTTP/1.1 or HTTP/2 on them, and stops without cutting anybody off.
//!
//! Guarantees: no trouble with one connection ends the loop; a handshake and a first request have to arrive in time,
//! after which an upload may take as long as it likes; after a stop signal nobody new is let in, running requests
//! finish, and nothing outlives the drain timeout.
//! Must not: look at a request. Start at [`Listener::bind`] and [`Server::run`].

mod listener;
mod patience;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;

use super::tls::Tls;
pub use listener::{Error, Listener};
use patience::{Patience, Rewound};

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take for the head of its first request, the first byte included. hyper's own timer does
/// not run for HTTP/2, nor before it is known which version is spoken.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// How long a connection may lie idle between two requests, next head included. Longer than the proxies in front
/// keep theirs (nginx 60 s, Traefik 90 s): whoever closes first must not be the server, or the request that is
/// already on its way is lost.
const IDLE: Duration = Duration::from_secs(300);
/// How long connections are still listened to after a stop signal: a request that was sent before the client could
/// know must not be lost. Its answer says that the connection closes. Closing at once instead lost 28 of 30 requests
/// in flight.
const LAST_CALL: Duration = Duration::from_secs(1);
/// The largest head of a request in bytes; hyper answers 431 to larger ones.
const HEAD_MAX: usize = 128 << 10;
/// A dead HTTP/2 peer is noticed after these two.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// What an HTTP/2 client may send before it waits: enough for a fast upload over some distance.
const H2_WINDOW: u32 = 4 << 20;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Nothing on a unix socket.
    pub address: Option<SocketAddr>,
    /// Whether the connection is TLS.
    pub tls: bool,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Default)]
pub struct Protocols {
    /// TLS; plain when absent.
    pub tls: Option<Tls>,
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113, section 3.3).
    pub h2c: bool,
}

/// Tells every listener to stop. Cheap to clone; clones are the same signal.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Stops, for good.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said.
    pub fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said and requests that were on their way had time to arrive.
    async fn last_call(&self) {
        self.stopped().await;
        tokio::time::sleep(LAST_CALL).await;
    }

    /// Waits until it is said.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// A listener with what is spoken on it and who answers.
#[derive(Debug)]
pub struct Server<H> {
    listener: Listener,
    protocols: Protocols,
    handler: H,
}

impl<H, F, B> Server<H>
where
    H: Fn(Request<Incoming>, Client) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Puts them together; nothing is accepted before [`Server::run`].
    pub fn new(listener: Listener, protocols: Protocols, handler: H) -> Self {
        Self {
            listener,
            protocols,
            handler,
        }
    }

    /// Accepts and answers until `stop`, then gives running requests `drain` to finish. Returns how many
    /// connections were still busy after that and were cut. Dropping it half-way leaves running connections to
    /// themselves.
    pub async fn run(self, stop: Stop, drain: Duration) -> usize {
        let Self {
            listener,
            protocols,
            handler,
        } = self;
        // Watched by every connection: counts them, and tells when the last one is gone.
        let (alive, _) = watch::channel(());
        let serve = |stream, address| {
            let connection = Connection {
                client: Client {
                    address,
                    tls: protocols.tls.is_some(),
                },
                stop: stop.clone(),
                handler: handler.clone(),
            };
            let (protocols, alive) = (protocols.clone(), alive.subscribe());
            tokio::spawn(async move {
                let _alive = alive;
                let Protocols { tls, h2c } = protocols;
                match tls {
                    Some(tls) => connection.secure(stream, &tls).await,
                    None => connection.plain(stream, h2c).await,
                }
            });
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.stopped() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => serve(stream, address),
                Err(error) => listener::pause(&error).await,
            }
        }
        // Those the kernel let in already believe they are connected. Whoever comes after them is refused and goes
        // elsewhere.
        for (stream, address) in listener.close() {
            serve(stream, address);
        }
        match tokio::time::timeout(drain, alive.closed()).await {
            Ok(()) => 0,
            // Idle ones are gone by now, so what is left is busy.
            Err(_) => alive.receiver_count(),
        }
    }
}

/// One accepted connection on its way to a protocol.
struct Connection<H> {
    client: Client,
    stop: Stop,
    handler: H,
}

impl<H, F, B> Connection<H>
where
    H: Fn(Request<Incoming>, Client) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn secure(self, stream: listener::Stream, tls: &Tls) {
        let peer = self.client.address;
        let handshake = tokio::select! {
            () = self.stop.last_call() => return,
            handshake = tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.serve(stream, http2).await;
            }
            // A port scan, a probe of a load balancer, an untrusting client: nothing an operator can act on.
            Ok(Err(error)) => tracing::debug!(?peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(?peer, "TLS handshake took too long"),
        }
    }

    async fn plain(self, mut stream: listener::Stream, h2c: bool) {
        if !h2c {
            return self.serve(stream, false).await;
        }
        // The client's preface tells the version: HTTP/2's (RFC 9113, section 3.4) is no HTTP/1.1 request.
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut start = Vec::with_capacity(PREFACE.len());
        let read = async {
            while start.len() < PREFACE.len() && PREFACE.starts_with(&start) {
                let mut byte = [0; PREFACE.len()];
                let wanted = PREFACE.len() - start.len();
                match stream.read(&mut byte[..wanted]).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => start.extend_from_slice(&byte[..count]),
                }
            }
        };
        tokio::select! {
            () = self.stop.last_call() => return,
            read = tokio::time::timeout(FIRST_REQUEST, read) => if read.is_err() { return },
        }
        let http2 = start == PREFACE;
        self.serve(Rewound::new(start, stream), http2).await;
    }

    async fn serve<S>(self, stream: S, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self {
            client,
            stop,
            handler,
        } = self;
        let asked = Arc::new(AtomicBool::new(false));
        let io = TokioIo::new(Patience::new(stream, FIRST_REQUEST, Arc::clone(&asked)));
        let first = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Incoming>| {
            first.store(true, Ordering::Relaxed);
            let response = handler(request, client);
            async move { Ok::<_, Infallible>(response.await) }
        });
        // hyper may wait on a connection that never asked for anything as if it were busy.
        let unused = async {
            stop.last_call().await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let served = async {
            if http2 {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_ANSWER)
                    .max_header_list_size(HEAD_MAX as u32)
                    .initial_stream_window_size(H2_WINDOW)
                    .initial_connection_window_size(H2_WINDOW);
                drive(builder.serve_connection(io, service), &stop).await
            } else {
                let mut builder = http1::Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(IDLE)
                    .max_header_size(HEAD_MAX);
                drive(builder.serve_connection(io, service), &stop).await
            }
        };
        tokio::select! {
            served = served => if let Err(error) = served {
                let error = crate::telemetry::chain(&error);
                tracing::debug!(peer = ?client.address, error, "connection ended early");
            },
            () = unused => {}
        }
    }
}

/// Runs a connection; after the last call it finishes what it is doing and ends.
async fn drive<C: GracefulConnection>(connection: C, stop: &Stop) -> Result<(), C::Error> {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.last_call() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

#[cfg(test)]
mod tests;
