//! The limits of a listener, as they are configured (`http.limits`).

use std::time::Duration;

use super::connection_limiter::ConnectionLimits;
use crate::http::ResponseMemory;

/// The limits of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The limits of connections.
    pub connections: ConnectionLimits,
    /// How many requests there may be at the same time on an HTTP/2 connection.
    pub streams: u32,
    /// The memory of responses.
    pub memory: ResponseMemory,
    /// How long a client may read nothing of a response.
    pub write_timeout: Duration,
}

impl Default for Limits {
    /// The limits of a configuration without a section `http.limits`.
    fn default() -> Self {
        let limits = registry_config::model::Limits::default();
        Self {
            connections: ConnectionLimits {
                all: limits.connections(),
                per_client: limits.connections_per_client(),
                ..ConnectionLimits::default()
            },
            streams: limits.streams(),
            memory: ResponseMemory::new(limits.response_memory()),
            write_timeout: limits.write_timeout(),
        }
    }
}
