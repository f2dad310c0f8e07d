//! The real binary, from outside: command lines, exit codes, configuration, probes, TLS, signals.

mod commands;
mod garbage;
mod health;
mod htpasswd;
mod listening;
mod metrics;
mod program;
mod stopping;
mod tls;
mod upkeep;
