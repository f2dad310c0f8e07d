//! Types of the Registry's conditions, the only place that spells them.

/// Clients are served now.
pub const READY: &str = "Ready";
/// Something is not yet as asked.
pub const RECONCILING: &str = "Reconciling";
/// The operator cannot go on until a person acts.
pub const STALLED: &str = "Stalled";
/// The Service leads to a ready Pod.
pub const AVAILABLE: &str = "Available";
/// The certificates that clients see are valid and cover the host names.
pub const CERTIFICATE_VALID: &str = "CertificateValid";
/// The storage is there and can be reached.
pub const STORAGE_HEALTHY: &str = "StorageHealthy";
/// An artifact was pushed to the published address and pulled.
pub const VERIFIED: &str = "Verified";
