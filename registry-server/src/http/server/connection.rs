//! One accepted connection: its handshake, its protocol, and its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::connection_limiter::{ActiveRequest, ConnectionGuard};
use super::connection_metrics::ConnectionMetrics;
use super::limits::Limits;
use super::protocol::{http1_builder, http2_builder};
use super::stop::Stop;
use super::stream::AcceptedStream;
use super::timeout_stream::TimeoutStream;
use super::write_timeout::{StreamExecutor, WriteTimeout, memory_of_stream};
use crate::fault::chain;
use crate::http::tls::Tls;
use crate::http::{ConnectionMemory, Peer};

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take for the head of its first request, the first byte included. hyper's own timer does not
/// run for HTTP/2, nor before the version is known.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4). No HTTP/1.1 request begins with them.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS connection: a record of the handshake (RFC 8446, section 5.1). No method of HTTP begins with
/// it.
const TLS_HANDSHAKE: &[u8] = &[22];

/// The connection of a request, as its handler sees it.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The other end.
    pub peer: Peer,
    /// The memory that the response is taken from.
    pub memory: ConnectionMemory,
}

/// An accepted connection that is not served yet.
pub(super) struct Connection<H> {
    pub(super) peer: Peer,
    pub(super) guard: Arc<ConnectionGuard>,
    pub(super) stop: Stop,
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: ConnectionMetrics,
    pub(super) handler: H,
}

impl<H, F, B> Connection<H>
where
    H: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) async fn serve_tls(self, stream: AcceptedStream, tls: &Tls) {
        let peer = self.peer.address;
        // Both futures are boxed, so that an idle connection does not keep the memory of its handshake.
        let handshake = Box::pin(tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)));
        let handshake = tokio::select! {
            () = self.stop.grace_over() => return,
            () = self.guard.close_requested() => return,
            handshake = handshake => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Box::pin(self.serve(stream, http2)).await;
            }
            // A port scan, a probe of a load balancer, a client that does not trust the certificate: nothing that an
            // operator can act on.
            Ok(Err(error)) => tracing::debug!(?peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(?peer, "TLS handshake took too long"),
        }
    }

    /// Serves a client that speaks TLS or plain HTTP. Its first byte tells which.
    pub(super) async fn serve_either(mut self, mut stream: AcceptedStream, tls: &Tls, h2c: bool) {
        let Some(speaks_tls) = self.starts_with(&mut stream, TLS_HANDSHAKE).await else {
            return;
        };
        match speaks_tls {
            true => self.serve_tls(stream, tls).await,
            false => {
                self.peer.tls = false;
                self.serve_plain(stream, h2c).await;
            }
        }
    }

    /// Whether the client's first bytes are `prefix`. `None` when the connection has to be closed.
    async fn starts_with(&self, stream: &mut AcceptedStream, prefix: &[u8]) -> Option<bool> {
        tokio::select! {
            () = self.stop.grace_over() => None,
            () = self.guard.close_requested() => None,
            found = tokio::time::timeout(FIRST_REQUEST, stream.starts_with(prefix)) => found.ok(),
        }
    }

    pub(super) async fn serve_plain(self, mut stream: AcceptedStream, h2c: bool) {
        if !h2c {
            return Box::pin(self.serve(stream, false)).await;
        }
        let Some(http2) = self.starts_with(&mut stream, HTTP2_PREFACE).await else {
            return;
        };
        Box::pin(self.serve(stream, http2)).await;
    }

    async fn serve<S>(self, stream: S, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self {
            peer,
            guard,
            stop,
            limits,
            metrics,
            handler,
        } = self;
        let request_seen = Arc::new(AtomicBool::new(false));
        let write_timeout = WriteTimeout {
            timeout: limits.write_timeout,
            memory: limits.memory.clone(),
            metrics,
            peer: peer.address.map(|address| address.ip()),
        };
        let io = TokioIo::new(TimeoutStream::new(
            stream,
            FIRST_REQUEST,
            Arc::clone(&request_seen),
            write_timeout.clone(),
        ));
        let memory = match http2 {
            true => limits.memory.http2(),
            false => limits.memory.http1(),
        };
        let service = {
            let (request_seen, guard) = (Arc::clone(&request_seen), Arc::clone(&guard));
            service_fn(move |request: Request<Incoming>| {
                request_seen.store(true, Ordering::Relaxed);
                let active = guard.begin_request();
                let (handler, memory) = (handler.clone(), memory.clone());
                // Boxed, because hyper keeps the memory of this future while the connection is idle.
                Box::pin(async move {
                    let memory = memory_of_stream(&memory);
                    let response = handler(request, ConnectionInfo { peer, memory }).await;
                    Ok::<_, Infallible>(response.map(|body| ResponseBody {
                        body,
                        _active: active,
                    }))
                })
            })
        };
        // hyper may wait on a connection without any request as if it were busy.
        let unused = async {
            stop.grace_over().await;
            if request_seen.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let stalled = Arc::new(Notify::new());
        let served = async {
            if http2 {
                let executor = StreamExecutor::new(write_timeout, Arc::clone(&stalled));
                let connection = http2_builder(executor, limits.streams).serve_connection(io, service);
                Box::pin(run_until_stop(connection, &stop)).await
            } else {
                let connection = http1_builder().serve_connection(io, service);
                Box::pin(run_until_stop(connection, &stop)).await
            }
        };
        let peer = peer.address;
        tokio::select! {
            served = served => if let Err(error) = served {
                tracing::debug!(?peer, error = chain(&error), "connection ended early");
            },
            () = unused => {}
            () = guard.close_requested() => tracing::debug!(?peer, "idle connection closed to make room for another one"),
            () = stalled.notified() => tracing::debug!(?peer, "connection closed: the client read nothing of a response for too long"),
        }
    }
}

/// The body of a response. Its connection is in use until the body is sent.
struct ResponseBody<B> {
    body: B,
    _active: ActiveRequest,
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
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

/// Runs a connection. When the grace period after a stop signal is over, the connection finishes its requests and ends.
async fn run_until_stop<C: GracefulConnection>(connection: C, stop: &Stop) -> Result<(), C::Error> {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.grace_over() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
