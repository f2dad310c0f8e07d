//! Reasons of the conditions, the only place that spells them, and the reason of each error. Start at [`of`].

use crate::apply;
use crate::error::Error;
use crate::fault::Fault;
use crate::validate::Error as Invalid;

/// Everything that is asked for exists and answers.
pub const SERVING: &str = "Serving";
/// Pods are being started or replaced.
pub const ROLLING_OUT: &str = "RollingOut";
/// The Pods exist, but the Service leads to no ready one.
pub const NO_READY_REPLICA: &str = "NoReadyReplica";
/// The Pods are ready, but the probe shows that clients would not reach them yet.
pub const NOT_ANSWERING: &str = "NotAnswering";
/// No replica is asked for.
pub const SCALED_TO_ZERO: &str = "ScaledToZero";
/// The Deployment exceeded its progress deadline.
pub const ROLLOUT_STUCK: &str = "RolloutStuck";
/// The claim is not bound yet.
pub const VOLUME_PENDING: &str = "VolumePending";
/// `spec.paused`.
pub const PAUSED: &str = "Paused";
/// Reconciling is False: nothing is being changed.
pub const SETTLED: &str = "Settled";
/// Stalled is False: nothing needs a person.
pub const UNHINDERED: &str = "Unhindered";
/// The API server does not answer, or asks to try again later.
pub const API_UNAVAILABLE: &str = "APIUnavailable";
/// The API server refuses an object.
pub const API_REFUSES: &str = "APIRefuses";
/// An object of somebody else has a name that a child needs.
pub const FOREIGN_OBJECT: &str = "ForeignObject";
/// The API server stores a Registry that this operator cannot parse.
pub const UNPARSABLE: &str = "Unparsable";
/// A bug.
pub const INTERNAL_ERROR: &str = "InternalError";

/// The reason under which an error is reported.
pub fn of(error: &Error) -> &'static str {
    match error {
        Error::Validate(invalid) => match invalid {
            Invalid::ConfigKeyOwned { .. } | Invalid::ConfigKeySecret { .. } => "ConfigKeyRefused",
            Invalid::ConfigInvalid { .. } => "ConfigInvalid",
            Invalid::NameInvalid { .. } => "NameInvalid",
            Invalid::ClaimMissing { .. } => "ClaimNotFound",
            Invalid::ClaimTerminating { .. } => "ClaimTerminating",
            Invalid::StorageChanged { .. } => "StorageChanged",
            Invalid::StorageLost { .. } => "StorageLost",
            Invalid::Unreadable { why, .. } => api(why.fault),
            Invalid::InputsTooLarge { .. } => "InputsTooLarge",
            Invalid::SecretMissing { .. } => "SecretNotFound",
            Invalid::ConfigMapMissing { .. } => "ConfigMapNotFound",
            Invalid::KeyMissing { .. } => "KeyNotFound",
            Invalid::SecretInvalid { .. } => "SecretInvalid",
            Invalid::ConfigMapInvalid { .. } => "ConfigMapInvalid",
            Invalid::CertificateInvalid { .. } => "CertificateInvalid",
            Invalid::GeneratedSecretSpoilt { .. } => "GeneratedSecretSpoilt",
            Invalid::CertificateReplaced { .. } => "CertificateReplaced",
            Invalid::Foreign(_) => FOREIGN_OBJECT,
        },
        Error::Apply(apply::Error::Foreign(_)) => FOREIGN_OBJECT,
        Error::Read(_) | Error::Apply(_) => api(error.fault()),
        Error::Issue(_) => INTERNAL_ERROR,
    }
}

/// The reason of a request that failed.
fn api(fault: Fault) -> &'static str {
    match fault {
        Fault::Transient { .. } => API_UNAVAILABLE,
        Fault::Caller | Fault::Waiting => API_REFUSES,
        Fault::Permanent => INTERNAL_ERROR,
    }
}
