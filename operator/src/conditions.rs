//! Types of the Registry's conditions, the only place that spells them.

/// Clients can use the registry.
pub const READY: &str = "Ready";
/// The operator is still working towards the spec.
pub const RECONCILING: &str = "Reconciling";
/// The operator cannot go on until a person acts.
pub const STALLED: &str = "Stalled";
