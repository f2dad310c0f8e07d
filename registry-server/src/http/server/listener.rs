//! Where connections come from: a TCP address or a socket in the file system.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use registry_config::model::Net;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::connection_metrics::ConnectionMetrics;
use crate::fault::Fault;

/// Why nothing can be accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// As configured.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Who must act. An address in use is left by whoever holds it, a server that is still stopping for one.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Bind { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => Fault::Transient { retry_after: None },
                _ => Fault::Caller,
            },
        }
    }
}

/// A bound address. Dropping it closes it, and removes the socket it made in the file system.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket and its path.
    Unix(UnixListener, Socket),
}

/// Removes the socket when the listener goes.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // A successor that already made its own socket there would lose it; it will make it again at its restart.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds an address of the configuration: `:5000` is every address of the machine, IPv6 and IPv4.
    ///
    /// # Errors
    /// The address is not one, is in use, or may not be used.
    pub async fn bind(net: Net, address: &str) -> Result<Self, Error> {
        let bound = match net {
            Net::Tcp => tcp(address).await.map(Self::Tcp),
            Net::Unix => unix(Path::new(address)),
        };
        bound.map_err(|source| Error::Bind {
            address: address.to_owned(),
            source,
        })
    }

    /// The address in use, with the port that was chosen when port 0 was asked for.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default(),
            Self::Unix(_, path) => path.0.display().to_string(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                accepted(stream, address)
            }
            Self::Unix(listener, _) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }

    /// Stops listening and gives back the connections that the kernel completed before that: dropped with the
    /// listener, they would be reset. The system is asked directly, as the runtime may not have heard of them yet;
    /// a connection completed between the last answer and the close is lost, a matter of microseconds.
    pub(super) fn close(self) -> Vec<(Stream, Option<SocketAddr>)> {
        let mut last = Vec::new();
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else {
                    return last;
                };
                while let Ok((stream, address)) = listener.accept() {
                    let stream = stream
                        .set_nonblocking(true)
                        .and_then(|()| TcpStream::from_std(stream));
                    last.extend(stream.and_then(|stream| accepted(stream, address)));
                }
            }
            Self::Unix(listener, _socket) => {
                let Ok(listener) = listener.into_std() else {
                    return last;
                };
                while let Ok((stream, _)) = listener.accept() {
                    let stream = stream
                        .set_nonblocking(true)
                        .and_then(|()| UnixStream::from_std(stream));
                    last.extend(stream.map(|stream| (Stream::Unix(stream), None)));
                }
            }
        }
        last
    }
}

fn accepted(stream: TcpStream, address: SocketAddr) -> io::Result<(Stream, Option<SocketAddr>)> {
    // Answers are written whole; waiting for more to send with them only delays them.
    stream.set_nodelay(true)?;
    let ip = address.ip().to_canonical();
    Ok((Stream::Tcp(stream), Some(SocketAddr::new(ip, address.port()))))
}

async fn tcp(address: &str) -> io::Result<TcpListener> {
    let listener = match address.strip_prefix(':') {
        // A machine may be without IPv6.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await?,
        },
        None => TcpListener::bind(address).await?,
    };
    // Accepted connections inherit these: a peer that vanished in the middle of an upload is gone after minutes
    // instead of never. An option that the kernel does not know is no reason not to serve.
    let _ = sockopt::set_socket_keepalive(&listener, true);
    let _ = sockopt::set_tcp_keepidle(&listener, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(&listener, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(&listener, 8);
    Ok(listener)
}

fn unix(path: &Path) -> io::Result<Listener> {
    use std::os::unix::fs::FileTypeExt;
    // What a killed server left behind is in the way, and only that: a file of another kind stays.
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    Ok(Listener::Unix(UnixListener::bind(path)?, Socket(path.to_owned())))
}

/// Whether the system has no more files, for this process or at all.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Waits after a failed accept for as long as makes sense. The client's trouble is over at once; the machine's (no
/// more files, no more memory) has no event to wait for, and trying again at once would only burn the core.
pub(super) async fn pause(error: &io::Error, metrics: &ConnectionMetrics) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    metrics.accept_failed(error);
    tokio::time::sleep(Duration::from_millis(250)).await;
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
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
