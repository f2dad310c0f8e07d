//! The server's own certificate. A union: exactly one mode; leaving the whole field out means self-signed.

use kube::KubeSchema;
use kube::core::Duration;
use serde::{Deserialize, Serialize};

use crate::common::{ObjectName, duration, object_name};

/// The server's own certificate.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.secret) ? 1 : 0) + (has(self.selfSigned) ? 1 : 0) + (has(self.disabled) ? 1 : 0) == 1")
        .message("spec.tls must name exactly one mode: secret, selfSigned or disabled; leave spec.tls out for a self-signed certificate")
)]
pub struct Tls {
    /// A certificate that you provide. The server reads a renewed one without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<TlsSecret>,
    /// A certificate made by the operator, signed by a CA of the Registry's own. The operator renews the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSigned>,
    /// Plain HTTP. Passwords and content cross the network unencrypted, so it has to be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
}

/// A Secret of type `kubernetes.io/tls` with `tls.crt` and `tls.key`, and optionally `ca.crt`.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct TlsSecret {
    /// Name of the Secret.
    #[schemars(schema_with = "object_name")]
    pub name: String,
}

/// An empty object.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct Disabled {}

/// Contents of the self-signed certificate. It always has the names of the Service and of the Ingress, and `localhost`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.duration) || duration(self.duration) >= duration('1h') && duration(self.duration) <= duration('43800h')")
        .message("spec.tls.selfSigned.duration must lie between 1h and 43800h (five years)"),
    validation = Rule::new("!has(self.renewBefore) || duration(self.renewBefore) >= duration('5m')")
        .message("spec.tls.selfSigned.renewBefore must be at least 5m"),
    validation = Rule::new("!has(self.renewBefore) || duration(self.renewBefore) + duration('30m') <= duration(has(self.duration) ? self.duration : '8760h')")
        .message("spec.tls.selfSigned.renewBefore must be at least 30m shorter than spec.tls.selfSigned.duration (8760h when absent): a certificate is used in between")
)]
pub struct SelfSigned {
    /// A `kubernetes.io/tls` Secret with a CA of yours, which signs in place of the Registry's own. While it changes, the old
    /// and the new CA are both published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<ObjectName>,
    /// Further DNS names to put into the certificate; a leading `*.` is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(n, n.matches('^([*][.])?([a-z0-9]([-a-z0-9]*[a-z0-9])?)([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))")
            .message("spec.tls.selfSigned.dnsNames must hold lower-case DNS names such as registry.example.com")
    )]
    pub dns_names: Vec<String>,
    /// Further IP addresses to put into the certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(a, isIP(a))")
            .message("spec.tls.selfSigned.ipAddresses must hold IP addresses such as 192.0.2.10")
    )]
    pub ip_addresses: Vec<String>,
    /// How long a certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub duration: Option<Duration>,
    /// How long before its expiry a certificate is renewed; a third of `duration`, at most 720h, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub renew_before: Option<Duration>,
}
