//! The byte stream of an accepted connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A TCP connection or a unix one, with the bytes that were read from it to find out its protocol.
#[derive(Debug)]
pub(super) struct AcceptedStream {
    socket: Socket,
    /// Bytes that the next reads return first.
    read_ahead: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AcceptedStream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self::of(Socket::Tcp(stream))
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self::of(Socket::Unix(stream))
    }

    fn of(socket: Socket) -> Self {
        Self {
            socket,
            read_ahead: Vec::new(),
        }
    }

    /// Whether the client's first bytes are `prefix`. Waits only as long as they can still be. The bytes stay readable.
    /// Dropping the future loses them: the connection must be closed then.
    pub(super) async fn starts_with(&mut self, prefix: &[u8]) -> bool {
        let mut start = std::mem::take(&mut self.read_ahead);
        while start.len() < prefix.len() && prefix.starts_with(&start) {
            let missing = (prefix.len() - start.len()) as u64;
            match (&mut *self).take(missing).read_buf(&mut start).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        self.read_ahead = start;
        self.read_ahead.starts_with(prefix)
    }
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().socket {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for AcceptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_ahead.is_empty() {
            let count = self.read_ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.read_ahead[..count]);
            self.read_ahead.drain(..count);
            return Poll::Ready(Ok(()));
        }
        forward!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for AcceptedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
