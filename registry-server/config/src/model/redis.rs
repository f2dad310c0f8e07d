//! `redis`: where the shared cache of descriptors is, in the words of registry:2 and of registry:3.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::unset;
use crate::{GoDuration, Secret};

/// `redis`. Used when `storage.cache.blobdescriptor` is `redis`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redis {
    /// `host:port` of the one server; registry:2's word, read when `addrs` is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// `host:port` of the one server, of a cluster's members, or of the sentinels when there is a `mastername`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addrs: Vec<String>,
    /// What the server calls each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clientname: Option<String>,
    /// The number of the database; 0 when unset. A cluster has no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db: Option<i64>,
    /// The version of Redis's protocol; 2 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<i64>,
    /// Who logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With which password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Who logs in at the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinelusername: Option<String>,
    /// With which password.
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
    /// How long a question may take to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writetimeout: Option<GoDuration>,
    /// Connections do not say which library they are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disableidentity: Option<bool>,
    /// What they say of the library beside its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identitysuffix: Option<String>,
    /// TLS; on when anything in it is set.
    #[serde(skip_serializing_if = "unset")]
    pub tls: RedisTls,
}

impl Redis {
    /// The addresses, whichever line's words they are in.
    pub fn addresses(&self) -> Vec<&str> {
        let first = self.addr.as_deref().filter(|_| self.addrs.is_empty());
        let all = self.addrs.iter().map(String::as_str).chain(first);
        all.filter(|address| !address.is_empty()).collect()
    }

    /// How long a connection may take. Distribution's default; nobody waits for it.
    pub fn dial(&self) -> Duration {
        positive(self.dialtimeout).unwrap_or(Duration::from_secs(5))
    }

    /// How long one question may take until it is answered. Half a second when neither half is set, where
    /// distribution waits six: a cache that is slower than its store is of no use.
    pub fn patience(&self) -> Duration {
        match (positive(self.writetimeout), positive(self.readtimeout)) {
            (None, None) => Duration::from_millis(500),
            (write, read) => write.unwrap_or_default() + read.unwrap_or_default(),
        }
    }
}

/// None when it is nothing or less, which Redis's library for Go takes for "for ever": nobody waits for ever here.
fn positive(span: Option<GoDuration>) -> Option<Duration> {
    span.and_then(GoDuration::positive).filter(|span| !span.is_zero())
}

/// `redis.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RedisTls {
    /// PEM file with a certificate to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// PEM file with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// PEM files with the authorities that are believed; the system's when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rootcas: Vec<String>,
}

impl RedisTls {
    /// Whether connections are encrypted: as in distribution, there is no other switch.
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }
}
