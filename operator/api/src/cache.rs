//! Where the server remembers what it would otherwise ask the store for again and again.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{CaBundle, ObjectName};

/// Where descriptors are remembered. Without it, in the memory of each server where the content is in an object store,
/// and nowhere else.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
pub struct Cache {
    /// Redis, shared by all replicas. When it does not answer the registry is slower, and goes on.
    pub redis: Redis,
}

/// A Redis, or several.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("self.mode != 'Standalone' || self.addresses.size() == 1")
        .message("spec.cache.redis.addresses must hold one address with spec.cache.redis.mode Standalone"),
    validation = Rule::new("self.mode != 'Cluster' || self.addresses.size() > 1")
        .message("spec.cache.redis.addresses must hold at least two addresses with spec.cache.redis.mode Cluster"),
    validation = Rule::new("(self.mode == 'Sentinel') == has(self.sentinel)")
        .message("spec.cache.redis.sentinel belongs to spec.cache.redis.mode Sentinel, which needs it")
)]
pub struct Redis {
    /// What stands at the addresses.
    #[serde(default)]
    pub mode: RedisMode,
    /// Host and port of each, such as `redis.cache.svc:6379`: of the server, of the sentinels, or of nodes of the
    /// cluster.
    #[schemars(length(max = 32), inner(length(max = 259)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() > 0")
            .message("spec.cache.redis.addresses must name at least one address"),
        validation = Rule::new("self.all(a, a.matches('^([A-Za-z0-9._-]+|[[][0-9A-Fa-f:.]+[]]):[0-9]{1,5}$'))")
            .message("spec.cache.redis.addresses must hold hosts with their ports such as redis.cache.svc:6379")
    )]
    pub addresses: Vec<String>,
    /// What the sentinels are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<RedisSentinel>,
    /// How the server logs in; not at all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<RedisCredentials>,
    /// TLS; everything is sent in the open when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
}

/// What stands at Redis's addresses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RedisMode {
    /// One server.
    #[default]
    Standalone,
    /// Sentinels, which know the server.
    Sentinel,
    /// Nodes of a cluster.
    Cluster,
}

/// What the sentinels are asked for.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisSentinel {
    /// The name under which they know the server.
    #[schemars(length(min = 1, max = 253))]
    pub master_name: String,
}

/// How the server logs in to Redis.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct RedisCredentials {
    /// A password, and perhaps a user, from a Secret. A changed Secret replaces the Pods.
    pub secret: RedisLogin,
}

/// A Secret with a password.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisLogin {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key with the user's name; Redis's default user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: Option<String>,
    /// Key with the password.
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

/// TLS to Redis.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisTls {
    /// What vouches for Redis's certificate; the well-known authorities when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// A Secret of type `kubernetes.io/tls` with the certificate the server shows; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ObjectName>,
}
