//! The real binary, from outside: command lines, exit codes, configuration, probes, TLS, signals.

mod cache;
mod commands;
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
