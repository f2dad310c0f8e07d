//! Berth's registry server: a drop-in for registry:2 and registry:3.
//!
//! The program is [`cli::run`]. Another program can serve a registry itself: it opens a store with a driver of
//! [`storage`], makes a [`registry::Registry`] of it, and gives that to an [`http::App`], which answers requests.
//! [`http::server::Server`] accepts connections for the app; `examples/embed.rs` is a whole program.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use registry_server::auth::Authenticator;
//! use registry_server::http::{App, Options, Secrets};
//! use registry_server::registry::{Registry, Settings};
//! use registry_server::storage::InMemory;
//!
//! let registry = Registry::new(Arc::new(InMemory::default()), Settings::default());
//! let options = Options::new(Secrets::new(b"a secret of your own", []));
//! let app = App::new(registry, Authenticator::open(), options);
//! # let _ = app;
//! ```
//!
//! A program that serves TLS installs rustls's default crypto provider first, as `main.rs` does.

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
