//! The timeout for clients that read nothing of their responses, over HTTP/1.1 and over HTTP/2.
//!
//! Over HTTP/1.1 the write to the socket waits, and [`super::timeout_stream`] notices that. Over HTTP/2 the blocks of a
//! stalled stream wait in the connection's queues, where no write shows it. So the task of each stream watches its
//! unsent blocks, also after the handler has finished.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::connection_metrics::ConnectionMetrics;
use crate::http::response_memory::{ConnectionMemory, ResponseMemory, UnsentBlocks};

/// The timeout while other responses wait for memory.
const TIMEOUT_WHEN_SHORT: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// The unsent blocks of the stream that the current task serves.
    static UNSENT: Arc<UnsentBlocks>;
}

/// How long the client of a connection may read nothing (`http.limits.writetimeout`).
#[derive(Debug, Clone)]
pub(super) struct WriteTimeout {
    pub(super) timeout: Duration,
    pub(super) memory: ResponseMemory,
    pub(super) metrics: ConnectionMetrics,
    pub(super) peer: Option<IpAddr>,
}

impl WriteTimeout {
    /// Whether a client that has read nothing for `stalled` has timed out.
    pub(super) fn is_over(&self, stalled: Duration) -> bool {
        stalled >= self.timeout || (stalled >= TIMEOUT_WHEN_SHORT && self.memory.is_short())
    }

    /// The time between two checks of a client that reads nothing.
    pub(super) fn check_interval(&self) -> Duration {
        (self.timeout / 4).min(TIMEOUT_WHEN_SHORT / 4)
    }

    /// Waits until the client of a stream has timed out.
    async fn timed_out(&self, unsent: &UnsentBlocks) {
        loop {
            sleep(self.check_interval()).await;
            if unsent.stalled_for().is_some_and(|stalled| self.is_over(stalled)) {
                self.metrics.stalled(self.peer);
                return;
            }
        }
    }
}

/// A connection's memory, for the stream that the current task serves.
pub(super) fn memory_of_stream(connection: &ConnectionMemory) -> ConnectionMemory {
    match UNSENT.try_with(Arc::clone) {
        Ok(unsent) => connection.of_stream(unsent),
        Err(_) => connection.clone(),
    }
}

/// hyper's executor for the streams of an HTTP/2 connection: a task for each stream, with a timeout.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor {
    timeout: WriteTimeout,
    connection_stalled: Arc<Notify>,
}

impl StreamExecutor {
    /// `connection_stalled` is notified when the whole connection has to be closed.
    pub(super) fn new(timeout: WriteTimeout, connection_stalled: Arc<Notify>) -> Self {
        Self {
            timeout,
            connection_stalled,
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let Self {
            timeout,
            connection_stalled,
        } = self.clone();
        let unsent = Arc::<UnsentBlocks>::default();
        tokio::spawn(async move {
            tokio::select! {
                () = UNSENT.scope(Arc::clone(&unsent), stream) => {}
                // The stream's future is dropped, which resets the stream.
                () = timeout.timed_out(&unsent) => unsent.restart(),
            }
            // The last block may still wait in the connection, and its stream can no longer be reset.
            tokio::select! {
                () = unsent.all_sent() => {}
                () = timeout.timed_out(&unsent) => connection_stalled.notify_one(),
            }
        });
    }
}
