//! The cache of descriptors.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{CaBundle, ObjectName, data_key, object_name};

/// The cache of descriptors. When absent, each server of a Registry on an object store caches them in memory, and servers
/// on a volume do not cache them.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
pub struct Cache {
    /// Redis, shared by all replicas. While it does not answer the registry is slower and goes on.
    pub redis: Redis,
}

/// A Redis server, or several.
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
    /// The kind of servers at the addresses.
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
    /// The server that the sentinels know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<RedisSentinel>,
    /// Credentials of the registry server; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<RedisCredentials>,
    /// TLS; the connection is not encrypted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
}

/// The kind of servers at Redis's addresses.
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

/// The server that the sentinels know.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisSentinel {
    /// The name under which the sentinels know the server.
    #[schemars(length(min = 1, max = 253))]
    pub master_name: String,
}

/// Credentials of the registry server for Redis.
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
    #[schemars(schema_with = "object_name")]
    pub name: String,
    /// Key with the user's name; Redis's default user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "data_key")]
    pub username_key: Option<String>,
    /// Key with the password.
    #[schemars(schema_with = "data_key")]
    pub password_key: String,
}

/// TLS to Redis.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisTls {
    /// CAs that sign Redis's certificate; the well-known CAs when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// A Secret of type `kubernetes.io/tls` with the certificate the server shows; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ObjectName>,
}
