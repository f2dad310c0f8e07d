//! The `Registry` kind itself, and the rules that span several of its fields.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::access::{Http, Ingress, Service};
use crate::auth::Auth;
use crate::cache::Cache;
use crate::common::ObjectName;
use crate::gateway::{HttpRoute, TlsRoute};
use crate::metrics::Metrics;
use crate::network::NetworkPolicy;
use crate::overlay::{ConfigFrom, Log, raw};
use crate::pod::Pod;
use crate::scaling::{Autoscaling, UpgradePolicy};
use crate::status::RegistryStatus;
use crate::storage::Storage;
use crate::tls::Tls;
use crate::verify::Verify;

/// A container registry: its storage, who may use it, and how it is reached.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "Registry",
    plural = "registries",
    shortname = "breg",
    category = "berth",
    namespaced,
    cel,
    status = "RegistryStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Storage", type_ = "string", json_path = ".status.storage.backend"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", priority = 1, json_path = ".status.image"),
    printcolumn(
        name = "Certificate-Ends",
        type_ = "string",
        priority = 1,
        json_path = ".status.tls.notAfter"
    ),
    printcolumn(
        name = "Capacity",
        type_ = "string",
        priority = 1,
        json_path = ".status.storage.capacity"
    ),
    printcolumn(
        name = "Used-Percent",
        type_ = "integer",
        priority = 1,
        json_path = ".status.storage.usedPercent"
    ),
    // The first condition with a message: Stalled, else Reconciling, else Ready. The status lists them in this order.
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.message!="")].message"#
    ),
    doc = "A container registry."
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas <= 1 || !has(self.storage.emptyDir)")
        .message("spec.replicas must be at most 1 with spec.storage.emptyDir: every replica would have content of its own"),
    validation = Rule::new("self.replicas <= 1 || !has(self.storage.persistentVolumeClaim) || !has(self.storage.persistentVolumeClaim.template) || 'ReadWriteMany' in self.storage.persistentVolumeClaim.template.accessModes")
        .message("spec.replicas must be at most 1 unless spec.storage.persistentVolumeClaim.template.accessModes contains ReadWriteMany: the volume can be mounted by one replica only"),
    validation = Rule::new("!has(self.autoscaling) || !has(self.storage.emptyDir)")
        .message("spec.autoscaling needs storage that Pods can share, not spec.storage.emptyDir"),
    validation = Rule::new("!has(self.autoscaling) || !has(self.storage.persistentVolumeClaim) || !has(self.storage.persistentVolumeClaim.template) || 'ReadWriteMany' in self.storage.persistentVolumeClaim.template.accessModes")
        .message("spec.autoscaling needs a volume that Pods can share: spec.storage.persistentVolumeClaim.template.accessModes must contain ReadWriteMany"),
    validation = Rule::new("!has(self.tlsRoute) || !has(self.tls) || !has(self.tls.disabled)")
        .message("spec.tlsRoute leads TLS through to the server, but spec.tls.disabled is set"),
    validation = Rule::new("!has(self.ingress) || !has(self.ingress.tls) || !has(self.ingress.tls.mode) || self.ingress.tls.mode == 'Edge' || !has(self.tls) || !has(self.tls.disabled)")
        .message("spec.ingress.tls.mode Reencrypt and Passthrough need a server with TLS, but spec.tls.disabled is set"),
    validation = Rule::new("!has(self.ingress) || !has(self.ingress.tls) || !has(self.ingress.tls.mode) || self.ingress.tls.mode != 'Edge' || (has(self.tls) && has(self.tls.disabled))")
        .message("spec.ingress.tls.mode Edge ends TLS at the Ingress and needs spec.tls.disabled: use Reencrypt to keep TLS up to the server"),
)]
pub struct RegistrySpec {
    /// The server's image; the one of the operator's version when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Number of server Pods. `0` stops the registry and keeps everything else. With `autoscaling` only `0` counts.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,
    /// Number of server Pods by load, for storage that several Pods can share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Whether an upgrade of the operator changes the server's image. An image that `image` names with a tag or digest
    /// is never changed.
    #[serde(default)]
    pub upgrade_policy: UpgradePolicy,
    /// Whether the operator leaves everything as it is. A paused Registry keeps serving.
    #[serde(default)]
    pub paused: bool,
    /// Whether clients may change anything.
    #[serde(default)]
    pub mode: Mode,
    /// Storage of the content.
    pub storage: Storage,
    /// The server's certificate; self-signed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Authentication of clients.
    pub auth: Auth,
    /// The server's HTTP settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// The Service in front of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// The server's metrics; off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// A route of the Gateway API; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRoute>,
    /// A route of the Gateway API that leads TLS through to the server; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_route: Option<TlsRoute>,
    /// A NetworkPolicy; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// An Ingress; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// The address clients use, where it cannot be derived: in `status.url` and in every `Location` header.
    #[serde(default, rename = "publicURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#@]+/?$') && isURL(self)")
            .message("spec.publicURL must be http:// or https:// and a host, with a port if needed, such as https://registry.example.com")
    )]
    pub public_url: Option<String>,
    /// Whether the operator requests `/v2/` at the addresses before it publishes one in `status.url`. `Disabled` is for
    /// addresses at which the operator does not get the registry's own answer, such as behind a login page.
    #[serde(default)]
    pub probe: Probe,
    /// The verification by a push and a pull; with the annotation `berth.dev/verify` alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// The server's logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// The cache of descriptors, which the server would otherwise request from the store for each pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Settings of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Keys of distribution's `config.yml` that have no field of their own here. Keys that have one, and keys
    /// that carry secrets, are refused with a sentence in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "raw")]
    pub config: Option<Map<String, Value>>,
    /// Values of `config.yml` that come from Secrets. The whole file then lives in a Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    pub config_from: Vec<ConfigFrom>,
}

fn one() -> i32 {
    1
}

/// Whether the operator requests the addresses before it publishes one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Probe {
    /// Only an address at which this Registry answered is published.
    #[default]
    Enabled,
    /// The first address is published unasked.
    Disabled,
}

/// Whether clients may change anything.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Mode {
    /// Push and pull.
    #[default]
    ReadWrite,
    /// Pull only; a push is answered 405.
    ReadOnly,
}

/// An image.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Repository, such as `registry.example.com/berth/registry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^(([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|[[][0-9A-Fa-f:]+[]])(:[0-9]{1,5})?/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*$')")
            .message("spec.image.repository must be an image's name without tag and digest, such as registry.example.com/berth/registry")
    )]
    pub repository: Option<String>,
    /// Tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9_][A-Za-z0-9._-]*$')")
            .message("spec.image.tag must be a tag: letters, digits, dots, dashes and underscores")
    )]
    pub tag: Option<String>,
    /// Digest, such as `sha256:…`; it wins over the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    #[x_kube(
        validation = Rule::new("self.matches('^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$')")
            .message("spec.image.digest must be sha256: or sha512: and lower-case hexadecimal digits")
    )]
    pub digest: Option<String>,
    /// When the kubelet pulls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// Secrets of type `kubernetes.io/dockerconfigjson` to pull it with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pull_secrets: Vec<ObjectName>,
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The value in Kubernetes' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}
