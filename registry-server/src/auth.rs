//! Authentication: which requests are let through, and as which user.
//!
//! Guarantees: a request is let through only after [`Authenticator::authorize`] allowed every access that it wants; no
//! log, error or `Debug` output holds a password; checking one never blocks an async thread; the cost of checking is
//! bounded however many clients log in at once, is shared fairly among their addresses, and tells nobody which users
//! exist.
//! Must not: know a route or a body.
//! Start at [`Authenticator`]. `htpasswd` is the one method so far that knows users.

mod access;
mod authenticator;
mod credential_cache;
mod error;
mod header;
mod htpasswd;
mod login_queue;
mod metrics;
mod password;
mod users;

pub use access::{Access, Action, Identity, Refusal};
pub use authenticator::Authenticator;
pub use error::Error;
pub use htpasswd::Htpasswd;

#[cfg(test)]
mod tests;
