//! Everything a team installs the operator with: the manifest of a release, the Helm chart, the bundle for OLM, and the
//! configuration of a kind cluster.
//!
//! The programs are the real ones, compiled by the suite. Helm installs on a real API server without nodes, so no
//! test here waits for a Pod; the cases of the suite do.

mod bundle;
mod chart;
mod installed;
mod manifest;
mod tools;
