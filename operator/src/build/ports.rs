//! Names of the ports, by which Service, Ingress, probes and Pods refer to each other.

/// The server's port in the Pods, and the Service's port.
pub(super) const REGISTRY_PORT: &str = "registry";
/// The port of the probes.
pub(super) const PROBES_PORT: &str = "probes";
