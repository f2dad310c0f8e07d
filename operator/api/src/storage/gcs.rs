//! Google Cloud Storage.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::common::{data_key, object_name, prefix};

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
pub struct Gcs {
    /// Name of the bucket. It must exist; what the Registry put into it stays when the Registry is deleted.
    #[schemars(length(max = 222))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9][a-z0-9._-]*$')")
            .message("spec.storage.gcs.bucket must be the name of a bucket: lower-case letters, digits, dots, dashes and underscores")
    )]
    pub bucket: String,
    /// Folder inside the bucket; the bucket's root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "prefix")]
    #[x_kube(
        validation = Rule::new("self.matches('^[!-.0-~]+(/[!-.0-~]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')")
            .message("spec.storage.gcs.prefix must be names joined by slashes, without a slash at either end, such as registry/main")
    )]
    pub prefix: Option<String>,
    /// Credentials of the registry server.
    pub credentials: GcsCredentials,
}

/// Credentials of the registry server for the store. Exactly one kind.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secret) != has(self.workloadIdentity)")
        .message("spec.storage.gcs.credentials must have exactly one of secret and workloadIdentity")
)]
pub struct GcsCredentials {
    /// A service account's key file from a Secret. A changed Secret replaces the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<GcsKeyFile>,
    /// The identity that the metadata server gives the Pods' ServiceAccount, or the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<GcsWorkloadIdentity>,
}

/// A Secret with a service account's key file.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GcsKeyFile {
    /// Name of the Secret.
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Key with the file, JSON as Google makes it.
    #[schemars(schema_with = "data_key")]
    pub key_file_key: String,
}

/// An empty object: the annotation that names the service account goes to
/// `spec.pod.serviceAccountAnnotations`.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct GcsWorkloadIdentity {}
