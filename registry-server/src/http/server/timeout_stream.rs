//! A byte stream that fails when its client takes too long.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio::time::{Sleep, sleep};

use super::write_timeout::WriteTimeout;

/// The largest number of bytes of one read. hyper doubles the buffer of a connection whenever a read has filled it, and
/// keeps it while the client sends nothing. With reads of this size the buffer stays at 64 KiB.
const READ_MAX: u64 = 32 << 10;

/// A stream whose reads fail when no request arrives within a deadline, and whose writes fail when the client reads
/// nothing for too long. After the first request there is no deadline for reads, because an upload may take hours.
pub(super) struct TimeoutStream<S> {
    stream: Take<S>,
    deadline: Option<Pin<Box<Sleep>>>,
    request_seen: Arc<AtomicBool>,
    write_timeout: WriteTimeout,
    /// The beginning of the current wait for the client to read.
    stalled_since: Option<Instant>,
    /// Wakes the task at intervals while it waits. Kept between waits, because they are frequent and short.
    tick: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead> TimeoutStream<S> {
    /// The caller sets `request_seen` when the first request has arrived, which must be within `first_request`.
    pub(super) fn new(
        stream: S,
        first_request: Duration,
        request_seen: Arc<AtomicBool>,
        write_timeout: WriteTimeout,
    ) -> Self {
        Self {
            stream: stream.take(READ_MAX),
            deadline: Some(Box::pin(sleep(first_request))),
            request_seen,
            write_timeout,
            stalled_since: None,
            tick: None,
        }
    }

    /// Passes the result of a write on, or fails it when it has waited for too long.
    fn check_write<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled_since = None;
            return written;
        }
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        let every = self.write_timeout.check_interval();
        let tick = self.tick.get_or_insert_with(|| Box::pin(sleep(every)));
        while tick.as_mut().poll(context).is_ready() {
            if self.write_timeout.is_over(since.elapsed()) {
                self.write_timeout.metrics.stalled(self.write_timeout.peer);
                let error = io::Error::new(io::ErrorKind::TimedOut, "the client read nothing for too long");
                return Poll::Ready(Err(error));
            }
            tick.as_mut().reset(tokio::time::Instant::now() + every);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deadline.is_some() && self.request_seen.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        self.stream.set_limit(READ_MAX);
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // The timer is polled even when bytes came, or a client that sends a byte a minute would never time out.
        let late = self
            .deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(context).is_ready());
        if late {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no request arrived in time",
            )));
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write(context, bytes);
        self.check_write(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(self.stream.get_mut()).poll_flush(context);
        self.check_write(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(self.stream.get_mut()).poll_shutdown(context);
        self.check_write(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write_vectored(context, slices);
        self.check_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }
}
