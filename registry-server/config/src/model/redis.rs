//! `redis`: the Redis servers of the shared descriptor cache, by the keys of registry:2 and of registry:3.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::unset::unset;
use crate::{GoDuration, Secret};

/// `redis`. Used when `storage.cache.blobdescriptor` is `redis`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redis {
    /// `host:port` of the one server. The key of registry:2, used when `addrs` is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// `host:port` of the one server, of a cluster's members, or of the sentinels when there is a `mastername`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addrs: Vec<String>,
    /// Client name of each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clientname: Option<String>,
    /// The number of the database; 0 when unset. A cluster has database 0 alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db: Option<i64>,
    /// The version of Redis's protocol; 2 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<i64>,
    /// User name for the login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// User name for the login at the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinelusername: Option<String>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinelpassword: Option<Secret>,
    /// The name by which the sentinels know the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mastername: Option<String>,
    /// How long a connection may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialtimeout: Option<GoDuration>,
    /// How long an answer may take, together with `writetimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readtimeout: Option<GoDuration>,
    /// How long a command may take to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writetimeout: Option<GoDuration>,
    /// Connections do not send the name of the client library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disableidentity: Option<bool>,
    /// Suffix of the library name that connections send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identitysuffix: Option<String>,
    /// TLS; on when any of its keys is set.
    #[serde(skip_serializing_if = "unset")]
    pub tls: RedisTls,
}

impl Redis {
    /// The addresses, from `addrs` or `addr`.
    pub fn addresses(&self) -> Vec<&str> {
        let first = self.addr.as_deref().filter(|_| self.addrs.is_empty());
        let all = self.addrs.iter().map(String::as_str).chain(first);
        all.filter(|address| !address.is_empty()).collect()
    }

    /// How long a connection may take. The default is distribution's; no request waits for it.
    pub fn dial(&self) -> Duration {
        positive(self.dialtimeout).unwrap_or(Duration::from_secs(5))
    }

    /// How long a command may take, its answer included. Half a second when neither timeout is set, where distribution waits
    /// six seconds: a cache that is slower than its store is useless.
    pub fn patience(&self) -> Duration {
        match (positive(self.writetimeout), positive(self.readtimeout)) {
            (None, None) => Duration::from_millis(500),
            (write, read) => write.unwrap_or_default() + read.unwrap_or_default(),
        }
    }
}

/// The duration; `None` when it is zero or negative. Redis's library for Go takes those for no limit, which does not exist
/// here.
fn positive(span: Option<GoDuration>) -> Option<Duration> {
    span.and_then(GoDuration::positive).filter(|span| !span.is_zero())
}

/// `redis.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RedisTls {
    /// PEM file with the client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// PEM file with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// PEM files with the trusted CAs; the system's when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rootcas: Vec<String>,
}

impl RedisTls {
    /// Whether connections are encrypted: as in distribution, there is no other switch.
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }
}
