//! One request on its way through the interface: who sent it, and what a handler works with.

use std::net::SocketAddr;

use http::{HeaderMap, Method};

use super::Options;
use super::location::Locations;
use super::query::Query;
use crate::registry::Registry;

/// Who sent a request, as the listener saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// The other end of the connection; none on a unix socket.
    pub address: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What a handler works with.
pub(super) struct Call<'a> {
    pub(super) registry: &'a Registry,
    pub(super) options: &'a Options,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The path of the request as it was sent.
    pub(super) path: &'a str,
    pub(super) query: &'a Query,
    pub(super) locations: &'a Locations,
}
