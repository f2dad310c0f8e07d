//! The other end of a connection.

use std::net::SocketAddr;

/// The sender of a request, as the listener saw it. A proxy may stand between it and the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// The address. `None` on a unix socket.
    pub address: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}
