//! The listener: accepts connections, speaks TLS and HTTP/1.1 or HTTP/2 on them, and stops without breaking off a
//! request.
//!
//! Guarantees: no error of one connection ends the accept loop; a handshake and a first request must arrive in time,
//! after which an upload may take as long as it likes; after a stop signal no new connection is accepted, running
//! requests finish, and none of them outlives the drain timeout; there are never more connections than the limits
//! allow, and no connection, nor any of its streams, holds more memory than its share.
//! Must not: look at a request. Start at [`Listener::bind`] and [`Server::run`].

mod accept;
mod connection;
mod connection_limiter;
mod connection_metrics;
mod limits;
mod listener;
mod protocol;
mod reject;
mod stop;
mod stream;
mod timeout_stream;
mod write_timeout;

pub use accept::{Protocols, Server};
pub use connection::ConnectionInfo;
pub use connection_limiter::ConnectionLimits;
pub use connection_metrics::ConnectionMetrics;
pub use limits::Limits;
pub use listener::{Error, Listener};
pub use stop::Stop;

#[cfg(test)]
mod tests;
