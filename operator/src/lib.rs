//! Berth's operator: turns a `Registry` into a running, secured registry and keeps it so.
pub mod cli;
