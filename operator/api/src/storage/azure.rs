//! Azure Blob Storage.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::common::{CaBundle, SecretKeyRef, data_key, object_name, prefix};

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Azure {
    /// Name of the storage account.
    #[schemars(length(max = 24))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]{3,24}$')")
            .message("spec.storage.azure.accountName must be 3 to 24 lower-case letters and digits")
    )]
    pub account_name: String,
    /// Name of the container. It must exist; what the Registry put into it stays when the Registry is deleted.
    #[schemars(length(max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("spec.storage.azure.container must be the name of a container: lower-case letters, digits and dashes")
    )]
    pub container: String,
    /// Folder inside the container; the container's root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "prefix")]
    #[x_kube(
        validation = Rule::new("self.matches('^[!-.0-~]+(/[!-.0-~]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')")
            .message("spec.storage.azure.prefix must be names joined by slashes, without a slash at either end, such as registry/main")
    )]
    pub prefix: Option<String>,
    /// Address of the account where it is not `https://<account>.blob.core.windows.net`: another cloud, or an
    /// emulator, whose address has the account's name as its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#@]+(/[a-z0-9]*)?$') && isURL(self)")
            .message("spec.storage.azure.endpoint must be http:// or https:// and a host, with a port if needed, such as https://account.blob.core.chinacloudapi.cn")
    )]
    pub endpoint: Option<String>,
    /// Credentials of the registry server.
    pub credentials: AzureCredentials,
    /// CAs that sign the endpoint's certificate, in addition to the well-known CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
}

/// Credentials of the registry server for the store. Exactly one kind.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.secret) ? 1 : 0) + (has(self.clientSecret) ? 1 : 0) + (has(self.workloadIdentity) ? 1 : 0) == 1")
        .message("spec.storage.azure.credentials must have exactly one of secret, clientSecret and workloadIdentity")
)]
pub struct AzureCredentials {
    /// The account's key from a Secret. A changed Secret replaces the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<AzureSharedKey>,
    /// An application with a secret. A changed Secret replaces the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<AzureClientSecret>,
    /// The Pods' ServiceAccount, or the node's managed identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<AzureWorkloadIdentity>,
}

/// A Secret with the account's key.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureSharedKey {
    /// Name of the Secret.
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Key with the account's key.
    #[schemars(schema_with = "data_key")]
    pub account_key_key: String,
}

/// An application of a tenant, and its secret.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureClientSecret {
    /// The application's (client) id.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 128))]
    pub client_id: String,
    /// The tenant's (directory) id.
    #[serde(rename = "tenantID")]
    #[schemars(length(min = 1, max = 128))]
    pub tenant_id: String,
    /// The Secret and the key that hold the application's secret.
    pub secret_key_ref: SecretKeyRef,
}

/// The cloud identity of the Pods.
///
/// Without `clientID` the cloud's own webhook, or the node's managed identity, gives the Pods their identity; the
/// annotation the webhook looks for goes to `spec.pod.serviceAccountAnnotations`, the label is set by the operator.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("has(self.clientID) == has(self.tenantID)")
        .message("spec.storage.azure.credentials.workloadIdentity must have both clientID and tenantID, or neither")
)]
pub struct AzureWorkloadIdentity {
    /// The application's (client) id, for a token of the Pods' ServiceAccount where no webhook sets it.
    #[serde(default, rename = "clientID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub client_id: Option<String>,
    /// The tenant's (directory) id.
    #[serde(default, rename = "tenantID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub tenant_id: Option<String>,
}
