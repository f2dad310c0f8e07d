//! Two wrappers around a connection: one that loses patience, one that gives back what was read ahead.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails reads when nothing was asked within the deadline. From the first request on it is out of the way, because
/// an upload may take hours.
pub(super) struct Patience<S> {
    stream: S,
    deadline: Option<Pin<Box<Sleep>>>,
    asked: Arc<AtomicBool>,
}

impl<S> Patience<S> {
    /// `asked` is set by whoever sees the first request.
    pub(super) fn new(stream: S, limit: Duration, asked: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            deadline: Some(Box::pin(sleep(limit))),
            asked,
        }
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

macro_rules! writes_through {
    ($($wrapper:ident),*) => {$(
        impl<S: AsyncWrite + Unpin> AsyncWrite for $wrapper<S> {
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
    )*};
}

writes_through!(Patience, Rewound);
