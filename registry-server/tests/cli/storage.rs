//! `storage`, with and without running servers.

mod check;
mod copy;
