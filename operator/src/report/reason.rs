//! Condition types and reasons, the only place that spells them, and which error gives which.

use crate::validate::Error as Invalid;
use crate::{Error, Fault};

/// Clients can use the registry.
pub const READY: &str = "Ready";
/// The operator is still getting there.
pub const RECONCILING: &str = "Reconciling";
/// Nothing goes on without a person.
pub const STALLED: &str = "Stalled";

/// Everything asked for is there and answers.
pub const SERVING: &str = "Serving";
/// Pods are being started or replaced.
pub const ROLLING_OUT: &str = "RollingOut";
/// The Pods are there, but the Service does not lead to a ready one.
pub const NO_READY_REPLICA: &str = "NoReadyReplica";
/// The Pods are ready, but clients would not reach them yet.
pub const NOT_ANSWERING: &str = "NotAnswering";
/// No replica is asked for.
pub const SCALED_TO_ZERO: &str = "ScaledToZero";
/// Kubernetes gave up waiting for the Pods.
pub const ROLLOUT_STUCK: &str = "RolloutStuck";
/// The volume is not there yet.
pub const VOLUME_PENDING: &str = "VolumePending";
/// `spec.paused`.
pub const PAUSED: &str = "Paused";
/// Nothing is being done.
pub const SETTLED: &str = "Settled";
/// Nothing is in the way.
pub const UNHINDERED: &str = "Unhindered";
/// The API server does not answer, or refuses for the moment.
pub const API_UNAVAILABLE: &str = "APIUnavailable";
/// The API server refuses an object.
pub const API_REFUSES: &str = "APIRefuses";
/// A bug.
pub const INTERNAL_ERROR: &str = "InternalError";

/// The reason an error is reported under.
pub fn of(error: &Error) -> &'static str {
    match error {
        Error::Validate(invalid) => match invalid {
            Invalid::ConfigKeyOwned { .. } | Invalid::ConfigKeySecret { .. } => "ConfigKeyRefused",
            Invalid::ConfigInvalid { .. } => "ConfigInvalid",
            Invalid::ClaimMissing { .. } => "ClaimNotFound",
            Invalid::ClaimTerminating { .. } => "ClaimTerminating",
            Invalid::StorageChanged { .. } => "StorageChanged",
            Invalid::SecretMissing { .. } => "SecretNotFound",
            Invalid::ConfigMapMissing { .. } => "ConfigMapNotFound",
            Invalid::KeyMissing { .. } => "KeyNotFound",
            Invalid::SecretInvalid { .. } => "SecretInvalid",
            Invalid::ConfigMapInvalid { .. } => "ConfigMapInvalid",
            Invalid::CertificateInvalid { .. } => "CertificateInvalid",
            Invalid::GeneratedSecretSpoilt { .. } => "GeneratedSecretSpoilt",
            Invalid::ForeignObject { .. } => "ForeignObject",
        },
        Error::Read(_) | Error::Apply(_) | Error::Report(_) => match error.fault() {
            Fault::Transient { .. } => API_UNAVAILABLE,
            Fault::Caller | Fault::Waiting => API_REFUSES,
            Fault::Permanent => INTERNAL_ERROR,
        },
        Error::Issue(_) => INTERNAL_ERROR,
    }
}
