//! Two wrappers around a connection: one that loses patience, one that gives back what was read ahead.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio::time::{Sleep, sleep};

use super::stalled::WriteLimit;

/// How many bytes one read takes at most. hyper doubles its buffer for a connection whenever a read has filled it, and
/// keeps it while the client sends nothing: with reads of this size the buffer stays at 64 KiB.
const READ_MAX: u64 = 32 << 10;

/// Fails reads when nothing was asked within the deadline, and writes when the client reads nothing for too long. An
/// upload may take hours: from the first request on, reads are let be.
pub(super) struct Patience<S> {
    stream: Take<S>,
    deadline: Option<Pin<Box<Sleep>>>,
    asked: Arc<AtomicBool>,
    writes: WriteLimit,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
    /// Wakes now and then while nothing can be written. Kept, because writes wait often and shortly.
    tick: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead> Patience<S> {
    /// `asked` is set by whoever sees the first request.
    pub(super) fn new(stream: S, limit: Duration, asked: Arc<AtomicBool>, writes: WriteLimit) -> Self {
        Self {
            stream: stream.take(READ_MAX),
            deadline: Some(Box::pin(sleep(limit))),
            asked,
            writes,
            stalled: None,
            tick: None,
        }
    }

    /// Notes what became of a write.
    fn written<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let every = self.writes.look_every();
        let tick = self.tick.get_or_insert_with(|| Box::pin(sleep(every)));
        while tick.as_mut().poll(context).is_ready() {
            if self.writes.is_over(since.elapsed()) {
                self.writes.metrics.stalled(self.writes.peer);
                let error = io::Error::new(io::ErrorKind::TimedOut, "the client read nothing for too long");
                return Poll::Ready(Err(error));
            }
            tick.as_mut().reset(tokio::time::Instant::now() + every);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deadline.is_some() && self.asked.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        self.stream.set_limit(READ_MAX);
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // The timer is asked each time, or a client that sends a byte a minute would never be timed out.
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(self.stream.get_mut()).poll_flush(context);
        self.written(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(self.stream.get_mut()).poll_shutdown(context);
        self.written(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }
}

/// A connection of which the first bytes were read already.
pub(super) struct Rewound<S> {
    start: Vec<u8>,
    stream: S,
}

impl<S> Rewound<S> {
    pub(super) fn new(start: Vec<u8>, stream: S) -> Self {
        Self { start, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.start.len().min(buffer.remaining());
        buffer.put_slice(&self.start[..count]);
        self.start.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
