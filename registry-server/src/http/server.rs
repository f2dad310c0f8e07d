//! The listener: accepts connections, speaks TLS and HTTP/1.1 or HTTP/2 on them, and stops without cutting anybody off.
//!
//! Guarantees: no trouble with one connection ends the loop; a handshake and a first request have to arrive in time,
//! after which an upload may take as long as it likes; after a stop signal nobody new is let in, running requests
//! finish, and nothing outlives the drain timeout; there are never more connections than the limits say, and
//! none of them, nor any stream of one, holds more memory than its part.
//! Must not: look at a request. Start at [`Listener::bind`] and [`Server::run`].

mod connection_metrics;
mod connections;
mod listener;
mod patience;
mod refusal;
mod stalled;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Notify, watch};

use super::Peer;
use super::response_memory::{BLOCK_MAX, ConnectionMemory, ResponseMemory};
use super::tls::Tls;
pub use connection_metrics::ConnectionMetrics;
pub use connections::ConnectionLimits;
use connections::{Connections, InUse, Ticket};
pub use listener::{Error, Listener};
use patience::{Patience, Rewound};
use stalled::{Streams, WriteLimit};

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
/// The largest head of an HTTP/2 request in bytes, for each stream of a connection. A `Range` of a thousand ranges has
/// 17 KiB, a token 16 KiB.
const H2_HEAD_MAX: u32 = 64 << 10;
/// How much of a request's body an HTTP/2 client may send before a handler reads it.
const H2_STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection, as in Go's server: several streams that nobody reads leave something for
/// one that is read.
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
/// How much of an answer waits in a stream's queue beside the block that is being sent.
const H2_SEND_BUFFER: usize = 64 << 10;
/// How many requests a client may take back before they were looked at, and how many broken ones it may send. Then
/// the connection ends.
const H2_RESETS: usize = 100;
/// How much waits in hyper's buffer over HTTP/1.1 before no more is asked for: a little more than a block, so that the
/// next block is read while one is sent. A head of [`HEAD_MAX`] bytes has to fit as well.
const H1_BUFFER: usize = BLOCK_MAX + (16 << 10);
const _: () = assert!(H1_BUFFER >= HEAD_MAX);

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The other end.
    pub peer: Peer,
    /// The memory that the response is taken from.
    pub memory: ConnectionMemory,
}

/// How much clients may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many connections there may be.
    pub connections: ConnectionLimits,
    /// How many requests at once on an HTTP/2 connection.
    pub streams: u32,
    /// The memory of answers.
    pub memory: ResponseMemory,
    /// How long a client may read nothing of an answer.
    pub write_timeout: Duration,
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
    limits: Limits,
    metrics: ConnectionMetrics,
    handler: H,
}

impl<H, F, B> Server<H>
where
    H: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Puts them together; nothing is accepted before [`Server::run`].
    pub fn new(listener: Listener, protocols: Protocols, limits: Limits, handler: H) -> Self {
        Self {
            listener,
            protocols,
            limits,
            metrics: ConnectionMetrics::default(),
            handler,
        }
    }

    /// Counts where `metrics` can be read.
    #[must_use]
    pub fn with_metrics(self, metrics: ConnectionMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Accepts and answers until `stop`, then gives running requests `drain` to finish. Returns how many
    /// connections were still busy after that and were cut. Dropping it half-way leaves running connections to
    /// themselves.
    pub async fn run(self, stop: Stop, drain: Duration) -> usize {
        let Self {
            listener,
            protocols,
            limits,
            metrics,
            handler,
        } = self;
        // Watched by every connection: counts them, and tells when the last one is gone.
        let (alive, _) = watch::channel(());
        let connections = Connections::new(limits.connections.clone(), metrics.clone());
        let refusals = refusal::Refusals::default();
        let limits = Arc::new(limits);
        let serve = |stream: listener::Stream, address: Option<SocketAddr>| {
            let Some(ticket) = connections.admit(address.map(|address| address.ip())) else {
                refusals.refuse(stream, protocols.tls.is_some());
                return;
            };
            let connection = Connection {
                peer: Peer {
                    address,
                    tls: protocols.tls.is_some(),
                },
                ticket: Arc::new(ticket),
                stop: stop.clone(),
                limits: Arc::clone(&limits),
                metrics: metrics.clone(),
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
                Ok((stream, address)) => {
                    // Only now: nobody is closed for a connection that does not come. While this one waits, those
                    // behind it do in the kernel's queue.
                    tokio::select! {
                        () = connections.room() => {}
                        () = stop.stopped() => {}
                    }
                    serve(stream, address);
                }
                Err(error) => {
                    if listener::is_out_of_files(&error) {
                        connections.end_idle();
                    }
                    listener::pause(&error, &metrics).await;
                }
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
    peer: Peer,
    ticket: Arc<Ticket>,
    stop: Stop,
    limits: Arc<Limits>,
    metrics: ConnectionMetrics,
    handler: H,
}

impl<H, F, B> Connection<H>
where
    H: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn secure(self, stream: listener::Stream, tls: &Tls) {
        let peer = self.peer.address;
        // Boxed, as is what follows: a connection that lies idle does not keep the room its handshake needed.
        let handshake = Box::pin(tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)));
        let handshake = tokio::select! {
            () = self.stop.last_call() => return,
            () = self.ticket.told_to_end() => return,
            handshake = handshake => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Box::pin(self.serve(stream, http2)).await;
            }
            // A port scan, a probe of a load balancer, an untrusting client: nothing an operator can act on.
            Ok(Err(error)) => tracing::debug!(?peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(?peer, "TLS handshake took too long"),
        }
    }

    async fn plain(self, mut stream: listener::Stream, h2c: bool) {
        if !h2c {
            return Box::pin(self.serve(stream, false)).await;
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
            () = self.ticket.told_to_end() => return,
            read = tokio::time::timeout(FIRST_REQUEST, read) => if read.is_err() { return },
        }
        let http2 = start == PREFACE;
        Box::pin(self.serve(Rewound::new(start, stream), http2)).await;
    }

    async fn serve<S>(self, stream: S, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self {
            peer,
            ticket,
            stop,
            limits,
            metrics,
            handler,
        } = self;
        let asked = Arc::new(AtomicBool::new(false));
        let writes = WriteLimit {
            timeout: limits.write_timeout,
            memory: limits.memory.clone(),
            metrics,
            peer: peer.address.map(|address| address.ip()),
        };
        let io = TokioIo::new(Patience::new(
            stream,
            FIRST_REQUEST,
            Arc::clone(&asked),
            writes.clone(),
        ));
        let memory = match http2 {
            true => limits.memory.http2(),
            false => limits.memory.http1(),
        };
        let service = {
            let (asked, ticket) = (Arc::clone(&asked), Arc::clone(&ticket));
            service_fn(move |request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let in_use = ticket.begin();
                let (handler, memory) = (handler.clone(), memory.clone());
                // Boxed: hyper keeps room for it also while nothing is asked.
                Box::pin(async move {
                    let memory = stalled::memory_of_stream(&memory);
                    let response = handler(request, ConnectionInfo { peer, memory }).await;
                    Ok::<_, Infallible>(response.map(|body| Answer {
                        body,
                        _in_use: in_use,
                    }))
                })
            })
        };
        // hyper may wait on a connection that never asked for anything as if it were busy.
        let unused = async {
            stop.last_call().await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let cut = Arc::new(Notify::new());
        let served = async {
            if http2 {
                let mut builder = http2::Builder::new(Streams::new(writes, Arc::clone(&cut)));
                builder
                    .timer(TokioTimer::new())
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_ANSWER)
                    .max_header_list_size(H2_HEAD_MAX)
                    .max_concurrent_streams(limits.streams)
                    .max_pending_accept_reset_streams(H2_RESETS)
                    .max_local_error_reset_streams(H2_RESETS)
                    .max_send_buf_size(H2_SEND_BUFFER)
                    .initial_stream_window_size(H2_STREAM_WINDOW)
                    .initial_connection_window_size(H2_CONNECTION_WINDOW);
                let connection = builder.serve_connection(io, service);
                Box::pin(drive(connection, &stop)).await
            } else {
                let mut builder = http1::Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(IDLE)
                    .max_header_size(HEAD_MAX)
                    .max_buf_size(H1_BUFFER);
                let connection = builder.serve_connection(io, service);
                Box::pin(drive(connection, &stop)).await
            }
        };
        tokio::select! {
            served = served => if let Err(error) = served {
                let error = crate::fault::chain(&error);
                tracing::debug!(peer = ?peer.address, error, "connection ended early");
            },
            () = unused => {}
            () = ticket.told_to_end() => tracing::debug!(peer = ?peer.address, "idle connection closed for another one"),
            () = cut.notified() => tracing::debug!(peer = ?peer.address, "connection closed: an answer waited too long"),
        }
    }
}

/// The body of an answer. Its connection is in use until it is sent.
struct Answer<B> {
    body: B,
    _in_use: InUse,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
