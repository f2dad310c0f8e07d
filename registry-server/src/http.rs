//! The registry's HTTP interface: routes, headers, status codes and error bodies.
//!
//! Guarantees: every response below `/v2/` carries `Docker-Distribution-API-Version`; every error has a code and a
//! status of one table (`problem`) and a body in the specification's form; no request reaches the registry before it
//! is authorized; bodies are streamed, so that a request uses a constant amount of memory.
//! Must not: decide what a registry does (handlers only translate), or know where anything is stored.
//! Start at [`App::respond`], then `route`. Each noun of the specification has a file with its handlers.

mod app;
mod blobs;
mod body;
mod body_timeout;
mod buffered;
mod catalog;
mod conditional;
mod cors;
mod forwarded;
mod framing;
mod lingering_close;
mod location;
mod manifests;
pub mod metrics;
mod multipart_byteranges;
mod options;
mod paging;
mod peer;
mod problem;
mod query;
mod range;
mod referrers;
mod reply;
mod request_context;
mod required_access;
mod response_memory;
mod route;
pub mod server;
mod tags;
pub mod tls;
mod upload_state;
mod uploads;
mod warning;

pub use app::App;
pub(crate) use body::NoMemory;
pub use body::{Body, BodyError, RequestBody};
pub use options::Options;
pub use peer::Peer;
pub use problem::{Code, Problem};
pub use response_memory::{ConnectionMemory, ResponseMemory};
pub use upload_state::Secrets;

#[cfg(test)]
mod tests;
