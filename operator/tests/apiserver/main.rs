//! The operator against a real API server of its own, without nodes: what the server refuses, and what a running
//! controller writes.
//!
//! Nothing here needs a Pod to run: on a server without a kubelet a Deployment never becomes available, and no test
//! pretends otherwise. The server is shared by the tests that run at the same time; each has a namespace of its own.

mod backup;
mod ca;
mod cluster;
mod crash;
mod damaged;
mod docs;
mod faults;
mod gitops;
mod hanging;
mod installed;
mod issuer;
mod leader;
mod names;
mod objects;
mod operator;
mod optional_resources;
mod ownership;
mod policies;
mod program;
mod purge;
mod put_back;
mod quiet;
mod references;
mod relay;
mod removed;
mod requests;
mod revisions;
mod rights;
mod rules;
mod samples;
mod scale;
mod scopes;
mod services;
mod snapshot;
mod status;
mod still;
mod stored;
mod storms;
mod telemetry;
mod verified;
mod walk;
