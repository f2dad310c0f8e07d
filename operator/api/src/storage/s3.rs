//! Amazon S3 and stores with the same protocol.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{CaBundle, data_key, object_name, prefix};

/// A bucket of Amazon S3, or of a store with the same protocol.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.region) || has(self.endpoint)")
        .message("spec.storage.s3.region is needed where spec.storage.s3.endpoint does not say where the bucket is")
)]
pub struct S3 {
    /// Name of the bucket. It must exist; what the Registry put into it stays when the Registry is deleted.
    #[schemars(length(max = 255))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')")
            .message("spec.storage.s3.bucket must be the name of a bucket: letters, digits, dots, dashes and underscores")
    )]
    pub bucket: String,
    /// Region of the bucket, such as `eu-central-1`; `us-east-1` when absent, which most other stores use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')")
            .message("spec.storage.s3.region must be the name of a region such as eu-central-1")
    )]
    pub region: Option<String>,
    /// Address of a store that is not Amazon's, such as `https://minio.storage.svc:9000`; `http://` sends content and
    /// signatures unencrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#@]+/?$') && isURL(self)")
            .message("spec.storage.s3.endpoint must be http:// or https:// and a host, with a port if needed, such as https://minio.storage.svc:9000")
    )]
    pub endpoint: Option<String>,
    /// Whether the bucket's name is in the path of an address instead of in the host name; when absent, true with
    /// `endpoint` and false without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Folder inside the bucket; the bucket's root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "prefix")]
    #[x_kube(
        validation = Rule::new("self.matches('^[!-.0-~]+(/[!-.0-~]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')")
            .message("spec.storage.s3.prefix must be names joined by slashes, without a slash at either end, such as registry/main")
    )]
    pub prefix: Option<String>,
    /// Credentials of the registry server.
    pub credentials: S3Credentials,
    /// CAs that sign the endpoint's certificate, in addition to the well-known CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Encryption of objects by the store; the bucket's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<S3Encryption>,
    /// Storage class of new objects, such as `STANDARD_IA`; the bucket's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Z][A-Z0-9_]*$')")
            .message("spec.storage.s3.storageClass must be the name of a storage class such as STANDARD_IA")
    )]
    pub storage_class: Option<String>,
}

/// Credentials of the registry server for the store. Exactly one kind.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secret) != has(self.workloadIdentity)")
        .message("spec.storage.s3.credentials must have exactly one of secret and workloadIdentity")
)]
pub struct S3Credentials {
    /// Keys from a Secret. A changed Secret replaces the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<S3Keys>,
    /// The identity of the Pods' ServiceAccount, or of their node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<S3WorkloadIdentity>,
}

/// A Secret with an access key, and which of its keys are which.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct S3Keys {
    /// Name of the Secret.
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Key with the access key's id.
    #[serde(rename = "accessKeyIDKey")]
    #[schemars(schema_with = "data_key")]
    pub access_key_id_key: String,
    /// Key with the secret access key.
    #[serde(rename = "secretAccessKeyKey")]
    #[schemars(schema_with = "data_key")]
    pub secret_access_key_key: String,
    /// Key with the session token of temporary keys.
    #[serde(default, rename = "sessionTokenKey", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "data_key")]
    pub session_token_key: Option<String>,
}

/// The cloud identity of the Pods.
///
/// Without `roleARN` the cloud's own webhook, or the node's role, gives the Pods their identity; annotations the
/// webhook looks for go to `spec.pod.serviceAccountAnnotations`.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("!has(self.audience) || has(self.roleARN)")
        .message("spec.storage.s3.credentials.workloadIdentity.audience needs roleARN: without a role no token is made")
)]
pub struct S3WorkloadIdentity {
    /// Role to assume with a token of the Pods' ServiceAccount, where no webhook sets it.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(
        validation = Rule::new("self.matches('^arn:[!-~]+$')")
            .message("spec.storage.s3.credentials.workloadIdentity.roleARN must be a role's ARN such as arn:aws:iam::123456789012:role/registry")
    )]
    pub role_arn: Option<String>,
    /// Audience of the token; `sts.amazonaws.com` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub audience: Option<String>,
}

/// Encryption of objects by the store.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("(self.type == 'SSE-KMS') == has(self.kmsKeyID)")
        .message("spec.storage.s3.encryption.kmsKeyID belongs to type SSE-KMS, which needs it")
)]
pub struct S3Encryption {
    /// The kind of keys.
    #[serde(rename = "type")]
    pub type_: S3EncryptionType,
    /// The key of the key management service: an id, an ARN or an alias.
    #[serde(default, rename = "kmsKeyID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
}

/// The kind of keys that encrypt objects.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum S3EncryptionType {
    /// The bucket's own setting.
    None,
    /// Keys of the store.
    #[serde(rename = "SSE-S3")]
    SseS3,
    /// A key of the key management service.
    #[serde(rename = "SSE-KMS")]
    SseKms,
}
