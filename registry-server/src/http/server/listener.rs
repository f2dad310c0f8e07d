//! The address that connections are accepted on: a TCP address or a unix socket in the file system.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_config::model::Net;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::connection_metrics::ConnectionMetrics;
use super::stream::AcceptedStream;
use crate::fault::Fault;

/// Errors of listening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The address as it is configured.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The party that must act. An address in use becomes free in time: it may belong to a server that is still
    /// stopping.
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
    /// A TCP address.
    Tcp(TcpListener),
    /// A unix socket, and the file that is removed with it.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket. Dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor that has made its own socket there already loses it, and makes it again at its restart.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds an address of the configuration. `:5000` means every address of the machine, IPv6 and IPv4.
    ///
    /// # Errors
    /// The address is malformed, is in use, or is not permitted.
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

    /// The bound address. For port 0 it has the port that the system chose.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default(),
            Self::Unix(_, path) => path.0.display().to_string(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(AcceptedStream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                accepted(stream, address)
            }
            Self::Unix(listener, _) => Ok((AcceptedStream::unix(listener.accept().await?.0), None)),
        }
    }

    /// Stops listening and returns the connections that the kernel has completed already, because dropping the listener
    /// would reset them. They are accepted by direct system calls, as the runtime may not know of them yet. A
    /// connection that is completed in the microseconds between the last call and the close is lost.
    pub(super) fn close(self) -> Vec<(AcceptedStream, Option<SocketAddr>)> {
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
                    last.extend(stream.map(|stream| (AcceptedStream::unix(stream), None)));
                }
            }
        }
        last
    }
}

fn accepted(stream: TcpStream, address: SocketAddr) -> io::Result<(AcceptedStream, Option<SocketAddr>)> {
    // Responses are written whole: waiting for more bytes to send with them would only delay them.
    stream.set_nodelay(true)?;
    let ip = address.ip().to_canonical();
    Ok((
        AcceptedStream::tcp(stream),
        Some(SocketAddr::new(ip, address.port())),
    ))
}

async fn tcp(address: &str) -> io::Result<TcpListener> {
    let listener = match address.strip_prefix(':') {
        // Some machines have no IPv6.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await?,
        },
        None => TcpListener::bind(address).await?,
    };
    // Accepted connections inherit these options. With them a connection ends minutes after its peer vanished in the
    // middle of an upload, and not never. A kernel without one of the options can still serve.
    let _ = sockopt::set_socket_keepalive(&listener, true);
    let _ = sockopt::set_tcp_keepidle(&listener, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(&listener, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(&listener, 8);
    Ok(listener)
}

fn unix(path: &Path) -> io::Result<Listener> {
    use std::os::unix::fs::FileTypeExt;
    // A killed server leaves its socket behind. Only that is removed: any other kind of file stays.
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    Ok(Listener::Unix(
        UnixListener::bind(path)?,
        SocketFile(path.to_owned()),
    ))
}

/// Whether the limit of open files is reached, of this process or of the system.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Waits before the next accept after a failed one. After an error of the client's no wait is needed. The end of a
/// shortage of files or memory sends no event to wait for, and accepting again at once would only burn a core.
pub(super) async fn back_off(error: &io::Error, metrics: &ConnectionMetrics) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    metrics.accept_failed(error);
    tokio::time::sleep(Duration::from_millis(250)).await;
}
