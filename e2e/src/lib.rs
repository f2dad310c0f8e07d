//! Clusters, clients and cases of the end-to-end suite.
//!
//! [`apiserver`] starts an API server without nodes. [`local`] starts a single-node cluster in its own namespaces.
//! [`kind`] has kind make one in docker. [`provider`] puts these and an existing cluster behind one interface, and [`runner`] runs [`cases`] against it.
//! Guarantees: nothing outside the cache folder, the checkout's `dist/` and the machine's packages is changed, and
//! packages only after an announcement. Must not: link the server or the operator; both are driven from outside.
//! Start at [`provider::Cluster`].

pub mod apiserver;
pub mod audit;
pub mod cache;
pub mod cases;
pub mod client_programs;
pub mod clients;
pub mod demo;
pub mod differential;
pub mod dist;
pub mod exec;
pub mod fixture;
pub mod footprint;
pub mod images;
pub mod kind;
pub mod kubeconfig;
pub mod local;
pub mod output;
pub mod packages;
pub mod packaging;
pub mod peers;
pub mod provider;
pub mod resource_health;
pub mod runner;
pub mod sample;
pub mod stores;
pub mod strace;
pub mod suite;
pub mod tmpfs;
pub mod tools;
mod versions;
pub mod wait;

mod control_plane;
pub mod debian;
mod docker_engine;
mod host_clients;
mod npm;
mod pki;
mod ports;
pub mod protocol;
mod proxy;
mod python;
mod raw_http;
mod relay;
pub mod server;
