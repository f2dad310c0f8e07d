//! Berth's operator: turns a `Registry` into a running, secured registry and keeps it so.
//!
//! One pass has six steps, each in the file of its name: `read → validate → build → apply → observe → report`, and
//! [`driver`] puts them in order. Guarantees: a pass that changes nothing writes nothing; generated issued (HTTP
//! secret, CA, certificates) is made once and kept while it is valid; an object with one of our names that is
//! not ours is never touched. Must not: talk to the API server outside `read`, `apply` and `report`; put anything of
//! a Secret into a log, an event, a status or a ConfigMap.
//! Start at [`driver`].

pub mod apply;
pub mod build;
pub mod cli;
pub mod driver;
mod error;
pub mod health;
pub mod issue;
pub mod names;
pub mod observe;
pub mod probe;
mod quantity;
pub mod read;
mod references;
pub mod report;
pub mod validate;

#[cfg(test)]
mod fixtures;

pub use error::{Error, Fault};

/// The operator's version, and with it that of the server's default image.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is the same for every Registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the server where a Registry names none.
    pub registry_image: String,
    /// The one namespace to look after; all of the cluster's when `None`.
    pub namespace: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registry_image: format!("berth/registry:{VERSION}"),
            namespace: None,
        }
    }
}
