//! Reasons of the conditions and events, the only place that spells them, and the reason of each error. Start at [`of`].

use crate::apply;
use crate::error::Error;
use crate::fault::Fault;
use crate::findings::{PodProblem, endpoint_reason};
use crate::validate::Error as Invalid;

/// Everything is as asked.
pub const SERVING: &str = "Serving";
/// Pods are being started or replaced.
pub const ROLLING_OUT: &str = "RollingOut";
/// The Pods exist, but the Service leads to no ready one.
pub const NO_READY_REPLICA: &str = "NoReadyReplica";
/// The Pods are ready, but an address does not lead to them yet.
pub const NOT_ANSWERING: &str = "NotAnswering";
/// No replica is asked for.
pub const SCALED_TO_ZERO: &str = "ScaledToZero";
/// The Deployment exceeded its progress deadline.
pub const ROLLOUT_STUCK: &str = "RolloutStuck";
/// The claim is not bound yet.
pub const VOLUME_PENDING: &str = "VolumePending";
/// `spec.paused`.
pub const PAUSED: &str = "Paused";
/// An address does not lead to this Registry, or its certificate is not for it.
pub const ADDRESS_NOT_VERIFIED: &str = "AddressNotVerified";
/// The server's certificate has expired.
pub const CERTIFICATE_EXPIRED: &str = endpoint_reason::CERTIFICATE_EXPIRED;
/// A certificate is for other names.
pub const HOST_NOT_COVERED: &str = endpoint_reason::HOST_NOT_COVERED;
/// CertificateValid is True.
pub const VALID: &str = "Valid";
/// Reconciling is False: nothing is being changed.
pub const SETTLED: &str = "Settled";
/// Stalled is False: nothing needs a person.
pub const UNHINDERED: &str = "Unhindered";
/// Available is True.
pub const READY_REPLICA: &str = "ReadyReplica";
/// StorageHealthy is True.
pub const HEALTHY: &str = "Healthy";
/// StorageHealthy is False: a server cannot use the storage.
pub const STORAGE_UNAVAILABLE: &str = "StorageUnavailable";
/// StorageHealthy is False: there is little room left.
pub const NEARLY_FULL: &str = "NearlyFull";
/// The volume is being grown.
pub const RESIZE_PENDING: &str = "ResizePending";
/// The volume cannot be grown.
pub const RESIZE_FAILED: &str = "ResizeFailed";
/// No server has told yet.
pub const UNKNOWN: &str = "Unknown";
/// The volume of the claim is gone.
pub const VOLUME_LOST: &str = "VolumeLost";
/// No volume can be made for the claim.
pub const PROVISIONING_FAILED: &str = "ProvisioningFailed";
/// Verified is True.
pub const PUSHED_AND_PULLED: &str = "PushedAndPulled";
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

/// The reason of the event about a Pod's problem.
pub fn of_pod(problem: &PodProblem) -> &'static str {
    match problem {
        PodProblem::Refused(_) => "PodRefused",
        PodProblem::Unschedulable { .. } => "PodUnschedulable",
        PodProblem::Image { .. } => "ImagePullFailed",
        PodProblem::Crashing { .. } => "CrashLoopBackOff",
        PodProblem::Unready { .. } => "ServerUnready",
        PodProblem::Container { .. } => "ContainerFailed",
    }
}
