//! Berth's registry server: a drop-in for registry:2 and registry:3

pub mod auth;
pub mod cache;
pub mod cli;
mod client_key;
pub mod fault;
mod files;
pub mod health;
pub mod http;
pub mod memory_budget;
pub mod registry;
pub mod storage;
mod task;
pub mod telemetry;
