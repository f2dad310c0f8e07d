//! `storage`, beside servers and without them.

mod check;
mod copy;
