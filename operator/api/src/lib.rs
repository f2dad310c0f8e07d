//! The types of the `berth.dev` API: the spec of a `Registry`, and its status.
//!
//! Guarantees: the CustomResourceDefinition ([`crd`]) and its reference page ([`reference_page`]) come from
//! these types and from nothing else; an object serialised from here carries no null and no empty list; every
//! rule the API server can check is written beside the field it is about, with a sentence that names the field.
//! Must not: talk to an API server, read a Secret, or decide what objects a `Registry` becomes. That is the
//! operator's; the end-to-end suite uses these types without it.
//! Start at [`RegistrySpec`]; the unions are in `storage`, `tls` and `auth`.

// The schema derive copies each struct, `pub` included, into a function body.
#![allow(unreachable_pub)]
// Printer columns repeat `type_`, each in a column of its own.
#![allow(clippy::duplicated_attributes)]

mod access;
mod auth;
mod cache;
mod common;
mod crd;
mod gateway;
mod metrics;
mod network;
mod overlay;
mod page;
mod pod;
mod registry;
mod scaling;
mod status;
mod storage;
mod tls;
mod verify;

pub use access::{
    Http, Ingress, IngressTls, IngressTlsMode, IpFamily, IpFamilyPolicy, Service, ServiceType, TrafficPolicy,
};
pub use auth::{Anonymous, AnonymousAccess, Auth, Htpasswd, HtpasswdSecretKeyRef};
pub use cache::{Cache, Redis, RedisCredentials, RedisLogin, RedisMode, RedisSentinel, RedisTls};
pub use common::{CaBundle, KeyRef, ObjectName, SecretKeyRef, is_object_name};
pub use crd::crd;
pub use gateway::{HttpRoute, ParentKind, ParentRef, TlsRoute};
pub use kube::core::Duration;
pub use metrics::{Metrics, Monitor};
pub use network::NetworkPolicy;
pub use overlay::{AccessLog, ConfigFrom, Log, LogFormat, LogLevel};
pub use page::reference_page;
pub use pod::{EnvVar, EnvVarSource, Pod, PodSecurityContext, Volume};
pub use registry::{Image, Mode, Probe, PullPolicy, Registry, RegistrySpec};
pub use scaling::{Autoscaling, DisruptionBudget, UpgradePolicy};
pub use status::{
    Endpoint, EndpointState, EndpointType, RegistryStatus, StorageStatus, TlsStatus, VerificationStatus,
};
pub use storage::{
    AccessMode, Azure, AzureClientSecret, AzureCredentials, AzureSharedKey, AzureWorkloadIdentity,
    ClaimTemplate, Deletion, EmptyDir, Gcs, GcsCredentials, GcsKeyFile, GcsWorkloadIdentity, Medium,
    PersistentVolumeClaim, Redirect, RetentionPolicy, S3, S3Credentials, S3Encryption, S3EncryptionType,
    S3Keys, S3WorkloadIdentity, Storage,
};
pub use tls::{Disabled, SelfSigned, Tls, TlsSecret};
pub use verify::{Verify, VerifyPolicy};

/// The API group of every Berth kind.
pub const GROUP: &str = "berth.dev";

/// Annotation that names the storage to which a `Registry` may be moved: `persistentVolumeClaim/<claim>`, `emptyDir`, or the kind of an
/// object store and its `status.storage.location`, such as `s3/images/main`.
///
/// With other storage clients see an empty registry. So a change is only applied while this annotation names the new
/// storage exactly. It may be removed afterwards.
pub const CHANGE_STORAGE_ANNOTATION: &str = "berth.dev/change-storage-to";

/// Annotation that accepts the loss of a claim: the UID of the claim that held the content, as the status names it.
///
/// A claim that was deleted is not made again in silence, and one that was replaced is not used in silence: clients would
/// see an empty registry. The annotation may be removed afterwards.
pub const ACCEPT_EMPTY_STORAGE_ANNOTATION: &str = "berth.dev/accept-empty-storage";

/// Annotation that asks for a new CA: any text that it did not have before, such as a date.
///
/// The new CA is published beside the old one at once, and signs ten minutes later. The old one stays published for 30 days.
pub const RENEW_CA_ANNOTATION: &str = "berth.dev/renew-ca";

/// Annotation of a Deployment with the version of the operator that has described its Pods.
pub const OPERATOR_VERSION_ANNOTATION: &str = "berth.dev/operator-version";

/// Annotation of a `Registry` by which tools ask for a reconcile. Its value is then in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUEST_ANNOTATION: &str = "reconcile.fluxcd.io/requestedAt";

/// Annotation that asks for a verification by a push and a pull: any text that it did not have before, such as a date.
///
/// The condition `Verified` has the result, and `status.verification.lastHandledRequest` the text that it answers.
pub const VERIFY_ANNOTATION: &str = "berth.dev/verify";

/// Label with the name of the `Registry`, on every object that the operator makes for it.
///
/// It selects the Pods, and a `Registry` that was deleted and applied again finds its claim, its CA and its HTTP secret
/// by it. Its value never changes.
pub const REGISTRY_LABEL: &str = "berth.dev/registry";

/// Annotation with the whole name of the `Registry`, where the label has a shortened one or one that ends like those.
///
/// Two such names can be shortened to the same text. The objects of the one are then not touched for the other, which says
/// in its status that they are in the way.
pub const REGISTRY_NAME_ANNOTATION: &str = "berth.dev/registry-name";
