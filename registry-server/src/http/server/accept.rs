//! The accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::watch;

use super::connection::{Connection, ConnectionInfo};
use super::connection_limiter::ConnectionLimiter;
use super::connection_metrics::ConnectionMetrics;
use super::limits::Limits;
use super::listener::{self, Listener};
use super::reject::Rejector;
use super::stop::Stop;
use super::stream::AcceptedStream;
use crate::http::Peer;
use crate::http::tls::Tls;

/// The protocols of a listener.
#[derive(Debug, Clone, Default)]
pub struct Protocols {
    /// TLS. `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// Plain HTTP on a listener with TLS too.
    pub plaintext: bool,
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113, section 3.3).
    pub h2c: bool,
}

/// A listener with its protocols, its limits and its handler.
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
    /// A server that accepts nothing before [`Server::run`].
    pub fn new(listener: Listener, protocols: Protocols, limits: Limits, handler: H) -> Self {
        Self {
            listener,
            protocols,
            limits,
            metrics: ConnectionMetrics::default(),
            handler,
        }
    }

    /// The same server, counting in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: ConnectionMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Accepts connections and answers requests until `stop`. Running requests then have `drain` to finish. Returns the
    /// number of connections that were still busy after that; they are cut when the process ends. Dropping the future
    /// half-way leaves running connections running.
    pub async fn run(self, stop: Stop, drain: Duration) -> usize {
        let Self {
            listener,
            protocols,
            limits,
            metrics,
            handler,
        } = self;
        // Each connection holds a receiver, so that this sender counts them and notices when the last one ends.
        let (alive, _) = watch::channel(());
        let limiter = ConnectionLimiter::new(limits.connections.clone(), metrics.clone());
        let rejector = Rejector::default();
        let limits = Arc::new(limits);
        let serve = |stream: AcceptedStream, address: Option<SocketAddr>| {
            let tls = protocols.tls.is_some();
            let Some(guard) = limiter.admit(address.map(|address| address.ip())) else {
                rejector.reject(stream, tls);
                return;
            };
            let connection = Connection {
                peer: Peer { address, tls },
                guard: Arc::new(guard),
                stop: stop.clone(),
                limits: Arc::clone(&limits),
                metrics: metrics.clone(),
                handler: handler.clone(),
            };
            let (protocols, alive) = (protocols.clone(), alive.subscribe());
            tokio::spawn(async move {
                let _alive = alive;
                let Protocols { tls, plaintext, h2c } = protocols;
                match tls {
                    Some(tls) if plaintext => connection.serve_either(stream, &tls, h2c).await,
                    Some(tls) => connection.serve_tls(stream, &tls).await,
                    None => connection.serve_plain(stream, h2c).await,
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
                    // After the accept, so that no idle connection is closed for one that never comes. While this one
                    // waits, later ones wait in the kernel's queue.
                    tokio::select! {
                        () = limiter.wait_for_room() => {}
                        () = stop.stopped() => {}
                    }
                    serve(stream, address);
                }
                Err(error) => {
                    if listener::is_out_of_files(&error) {
                        limiter.close_idle();
                    }
                    listener::back_off(&error, &metrics).await;
                }
            }
        }
        // The clients of these connections believe that they are connected. Later clients are refused by the kernel and
        // can go to another replica.
        for (stream, address) in listener.close() {
            serve(stream, address);
        }
        match tokio::time::timeout(drain, alive.closed()).await {
            Ok(()) => 0,
            // Idle connections have ended by now, so the remaining ones are busy.
            Err(_) => alive.receiver_count(),
        }
    }
}
