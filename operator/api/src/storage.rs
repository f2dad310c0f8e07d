//! Storage of the content. A union of exactly one backend; each object store has a file of its own.

mod azure;
mod gcs;
mod s3;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use azure::{Azure, AzureClientSecret, AzureCredentials, AzureSharedKey, AzureWorkloadIdentity};
pub use gcs::{Gcs, GcsCredentials, GcsKeyFile, GcsWorkloadIdentity};
pub use s3::{S3, S3Credentials, S3Encryption, S3EncryptionType, S3Keys, S3WorkloadIdentity};

use crate::common::{object_name, quantity};

/// Storage of blobs, manifests and tags. Exactly one backend.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.persistentVolumeClaim) ? 1 : 0) + (has(self.s3) ? 1 : 0) + (has(self.azure) ? 1 : 0) + (has(self.gcs) ? 1 : 0) + (has(self.emptyDir) ? 1 : 0) == 1")
        .message("spec.storage must name exactly one backend: persistentVolumeClaim, s3, azure, gcs or emptyDir"),
    validation = Rule::new("self.redirect == 'Disabled' || has(self.s3) || has(self.azure) || has(self.gcs)")
        .message("spec.storage.redirect Enabled needs s3, azure or gcs: clients cannot be sent to a volume")
)]
pub struct Storage {
    /// A PersistentVolumeClaim that exists, or one made from a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaim>,
    /// A bucket of Amazon S3, or of a store with the same protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// A container of Azure Blob Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// A bucket of Google Cloud Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<Gcs>,
    /// A volume that is deleted with its Pod. For trials and caches only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// Whether clients are redirected to the object store for blobs, to an address whose signature is valid for minutes.
    #[serde(default)]
    pub redirect: Redirect,
    /// Whether clients may delete manifests, tags and blobs.
    #[serde(default)]
    pub deletion: Deletion,
}

/// A volume by claim. Exactly one of `claimName` and `template`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.claimName) != has(self.template)")
        .message("spec.storage.persistentVolumeClaim must have exactly one of claimName and template")
)]
pub struct PersistentVolumeClaim {
    /// A claim that exists in the Registry's namespace. It is never owned, resized or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub claim_name: Option<String>,
    /// A template for a claim. The claim outlives the Registry unless `retentionPolicy` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<ClaimTemplate>,
}

/// Template for the claim.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || !quantity(self.size).isLessThan(quantity(oldSelf.size))")
        .message("spec.storage.persistentVolumeClaim.template.size may only grow: Kubernetes cannot shrink a volume"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("spec.storage.persistentVolumeClaim.template.storageClassName cannot be changed once the claim is made"),
    validation = Rule::new("self.accessModes.size() == oldSelf.accessModes.size() && self.accessModes.all(m, m in oldSelf.accessModes)")
        .message("spec.storage.persistentVolumeClaim.template.accessModes cannot be changed once the claim is made")
)]
pub struct ClaimTemplate {
    /// Size to ask for, such as `50Gi`. It may grow where the storage class allows it, never shrink.
    #[schemars(schema_with = "quantity")]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
            .message("spec.storage.persistentVolumeClaim.template.size must be a size above zero such as 50Gi")
    )]
    pub size: String,
    /// Storage class; the cluster's default when absent. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub storage_class_name: Option<String>,
    /// Access modes of the volume. More than one replica needs `ReadWriteMany`. Cannot be changed.
    #[serde(default = "read_write_once")]
    #[schemars(length(max = 3))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() > 0")
            .message("spec.storage.persistentVolumeClaim.template.accessModes must not be empty")
    )]
    pub access_modes: Vec<AccessMode>,
    /// Whether the claim, and with it the content, is deleted with the Registry.
    #[serde(default)]
    pub retention_policy: RetentionPolicy,
}

fn read_write_once() -> Vec<AccessMode> {
    vec![AccessMode::ReadWriteOnce]
}

/// Access mode of a volume.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AccessMode {
    /// Mounted read-write by one node.
    ReadWriteOnce,
    /// Mounted read-write by one Pod.
    ReadWriteOncePod,
    /// Mounted read-write by many nodes.
    ReadWriteMany,
}

impl AccessMode {
    /// The value in Kubernetes' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

/// Whether a claim made from the template is deleted with its Registry.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RetentionPolicy {
    /// It stays, and a Registry of the same name takes it back.
    #[default]
    Retain,
    /// It is deleted with the Registry, content included.
    Delete,
}

/// A folder that lives as long as its Pod.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir {
    /// The Pod is evicted when it holds more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
            .message("spec.storage.emptyDir.sizeLimit must be a size above zero such as 2Gi")
    )]
    pub size_limit: Option<String>,
    /// `Memory` keeps it in RAM, counted against the container's memory limit; the node's disk when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<Medium>,
}

/// Medium of an `emptyDir`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Medium {
    /// RAM.
    Memory,
}

/// Whether clients may delete.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Deletion {
    /// A delete is answered 405.
    #[default]
    Disabled,
    /// Manifests, tags and blobs can be deleted by whoever may push.
    Enabled,
}

/// Whether clients are sent to the object store.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Redirect {
    /// Every blob passes through the server. Works wherever the server works.
    #[default]
    Disabled,
    /// A pull of a blob is answered with an address of the store. Clients must reach the store by the name the
    /// server knows it by, and trust its certificate.
    Enabled,
}
