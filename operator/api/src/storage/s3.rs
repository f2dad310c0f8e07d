//! Amazon S3 and what speaks its protocol.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{CaBundle, prefix};

/// A bucket of Amazon S3, or of anything that speaks its protocol.
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
    /// Region of the bucket, such as `eu-central-1`; `us-east-1` when absent, which most other stores take for their
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')")
            .message("spec.storage.s3.region must be the name of a region such as eu-central-1")
    )]
    pub region: Option<String>,
    /// Address of a store that is not Amazon's, such as `https://minio.storage.svc:9000`; `http://` sends content and
    /// signatures in the open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#@]+/?$') && isURL(self)")
            .message("spec.storage.s3.endpoint must be http:// or https:// and a host, with a port if needed, such as https://minio.storage.svc:9000")
    )]
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path of an address instead of in its host name; true with `endpoint`, false
    /// without, when absent.
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
    /// How the server proves who it is.
    pub credentials: S3Credentials,
    /// What vouches for the endpoint's certificate, beside the well-known authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// How the store encrypts objects; as the bucket says when absent.
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

/// How the server proves who it is to the store. Exactly one way.
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
    /// The Pods' ServiceAccount, or what their node may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<S3WorkloadIdentity>,
}

/// A Secret with an access key, and which of its keys are which.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct S3Keys {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key with the access key's id.
    #[serde(rename = "accessKeyIDKey")]
    #[schemars(length(min = 1, max = 253))]
    pub access_key_id_key: String,
    /// Key with the secret access key.
    #[serde(rename = "secretAccessKeyKey")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_access_key_key: String,
    /// Key with the session token of temporary keys.
    #[serde(default, rename = "sessionTokenKey", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub session_token_key: Option<String>,
}

/// Who the Pods are to the cloud.
///
/// Without `roleARN` the cloud's own webhook, or the node's role, gives the Pods their identity; annotations the
/// webhook looks for go to `spec.pod.serviceAccountAnnotations`.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("!has(self.audience) || has(self.roleARN)")
        .message("spec.storage.s3.credentials.workloadIdentity.audience needs roleARN: without a role no token is made")
)]
pub struct S3WorkloadIdentity {
    /// Role to take on with a token of the Pods' ServiceAccount, where no webhook does that.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(
        validation = Rule::new("self.matches('^arn:[!-~]+$')")
            .message("spec.storage.s3.credentials.workloadIdentity.roleARN must be a role's ARN such as arn:aws:iam::123456789012:role/registry")
    )]
    pub role_arn: Option<String>,
    /// Whom the token is for; `sts.amazonaws.com` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub audience: Option<String>,
}

/// How the store encrypts objects.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("(self.type == 'SSE-KMS') == has(self.kmsKeyID)")
        .message("spec.storage.s3.encryption.kmsKeyID belongs to type SSE-KMS, which needs it")
)]
pub struct S3Encryption {
    /// Whose keys.
    #[serde(rename = "type")]
    pub type_: S3EncryptionType,
    /// The key of the key management service: an id, an ARN or an alias.
    #[serde(default, rename = "kmsKeyID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
}

/// Whose keys encrypt objects.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum S3EncryptionType {
    /// Nothing is asked for; the bucket's own setting holds.
    None,
    /// Keys of the store.
    #[serde(rename = "SSE-S3")]
    SseS3,
    /// A key of the key management service.
    #[serde(rename = "SSE-KMS")]
    SseKms,
}
