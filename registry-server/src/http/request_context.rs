//! The parts of a request, and of the server, that every handler needs.

use http::{HeaderMap, Method};

use super::Options;
use super::location::Locations;
use super::query::Query;
use crate::registry::Registry;

/// The context that each handler gets as its first argument. It lives as long as the request.
pub(super) struct RequestContext<'a> {
    pub(super) registry: &'a Registry,
    pub(super) options: &'a Options,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The path of the request as the client sent it.
    pub(super) path: &'a str,
    pub(super) query: &'a Query,
    pub(super) locations: &'a Locations,
}
