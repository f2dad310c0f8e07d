//! Berth's operator: turns a `Registry` into a running, secured registry and keeps it so.
//!
//! One reconcile has eight steps, each in the file of its name: `read → validate → issue → build → apply → observe →
//! probe → report`. [`driver`] runs them in this order, and no step calls another. Guarantees: a reconcile that changes
//! nothing writes nothing; generated secrets (HTTP secret, CA, certificates) are made once and kept while they are
//! valid; an object of somebody else is never touched, whatever its name. Must not: talk to the API server outside
//! `read`, `apply` and `report`; put anything of a Secret into a log, an event, a status or a ConfigMap.
//! Start at [`driver`].

pub mod apply;
pub mod build;
pub mod cache;
pub mod certificate;
pub mod children;
pub mod cli;
pub mod client;
pub mod conditions;
pub mod debug;
pub mod driver;
pub mod error;
pub mod fault;
pub mod findings;
pub mod health;
mod hosts;
pub mod http_server;
mod input_keys;
pub mod issue;
pub mod issue_plan;
mod json_depth;
pub mod leader;
pub mod log;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod optional;
mod ownership;
mod pod_layout;
mod pod_references;
pub mod probe;
mod quantity;
pub mod read;
pub mod recent;
mod references;
pub mod report;
pub mod secret_data;
pub mod settings;
pub mod subject;
pub mod telemetry;
pub mod validate;
pub mod verify_plan;
pub mod work_queue;

#[cfg(test)]
mod fixtures;

pub use error::Error;
pub use fault::Fault;
pub use settings::{Settings, VERSION};
