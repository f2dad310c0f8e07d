//! Clients that read nothing of their answers: when that is noticed, over HTTP/1.1 and over HTTP/2.
//!
//! A socket that takes no bytes is seen where bytes are written to it. A stream of HTTP/2 that takes none is not: its
//! blocks wait in the connection's queues. So each stream's task watches the stream's blocks, for as long as one of
//! them waits, also when nothing else is left of the request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::connection_metrics::ConnectionMetrics;
use crate::http::response_memory::{ConnectionMemory, ResponseMemory, UnsentBlocks};

/// How long a client may read nothing while others wait for the memory of its answer.
const WHILE_SHORT: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// The blocks of the stream whose task this is.
    static UNSENT: Arc<UnsentBlocks>;
}

/// How long the client of one connection may read nothing (`http.limits.writetimeout`).
#[derive(Debug, Clone)]
pub(super) struct WriteLimit {
    pub(super) timeout: Duration,
    pub(super) memory: ResponseMemory,
    pub(super) metrics: ConnectionMetrics,
    pub(super) peer: Option<IpAddr>,
}

impl WriteLimit {
    /// Whether a client that has read nothing for so long is given up.
    pub(super) fn is_over(&self, stalled: Duration) -> bool {
        stalled >= self.timeout || (stalled >= WHILE_SHORT && self.memory.is_short())
    }

    /// The time between two looks at one that reads nothing.
    pub(super) fn look_every(&self) -> Duration {
        (self.timeout / 4).min(WHILE_SHORT / 4)
    }

    async fn stalled(&self, unsent: &UnsentBlocks) {
        loop {
            sleep(self.look_every()).await;
            if unsent.stalled_for().is_some_and(|stalled| self.is_over(stalled)) {
                self.metrics.stalled(self.peer);
                return;
            }
        }
    }
}

/// A connection's memory, for the stream whose task asks.
pub(super) fn memory_of_stream(connection: &ConnectionMemory) -> ConnectionMemory {
    match UNSENT.try_with(Arc::clone) {
        Ok(unsent) => connection.of_stream(unsent),
        Err(_) => connection.clone(),
    }
}

/// Runs the streams of an HTTP/2 connection.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    limit: WriteLimit,
    cut: Arc<Notify>,
}

impl Streams {
    /// `cut` is told when the connection has to end.
    pub(super) fn new(limit: WriteLimit, cut: Arc<Notify>) -> Self {
        Self { limit, cut }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let Self { limit, cut } = self.clone();
        let unsent = Arc::<UnsentBlocks>::default();
        tokio::spawn(async move {
            tokio::select! {
                () = UNSENT.scope(Arc::clone(&unsent), stream) => {}
                // Its future is dropped, which resets the stream.
                () = limit.stalled(&unsent) => unsent.restart(),
            }
            // The last block may wait in the connection, with nobody left to reset its stream.
            tokio::select! {
                () = unsent.all_sent() => {}
                () = limit.stalled(&unsent) => cut.notify_one(),
            }
        });
    }
}
