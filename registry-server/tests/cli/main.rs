//! Tests of the real binary as a separate process: command lines, exit codes, configuration, probes, TLS, signals, kills.

mod cache;
mod commands;
mod crash;
mod disk;
mod garbage;
mod health;
mod htpasswd;
mod http2;
mod limits;
mod listening;
mod logging;
mod maintenance;
mod metrics;
mod owner;
mod program;
mod pushing;
mod ranges;
mod shipped;
mod stopping;
mod storage;
mod tls;
mod unread;
