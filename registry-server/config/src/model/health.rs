//! `health`: checks that make the server unready or take it out of service.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::unset::unset;
use crate::{GoDuration, Secret};

/// `health`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The regular check of the store.
    #[serde(skip_serializing_if = "unset")]
    pub storagedriver: StorageHealth,
    /// Files that take the server out of service while they exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<FileCheck>,
    /// URLs that must answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpCheck>,
    /// Addresses that must take connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpCheck>,
}

impl Health {
    /// The shortest `interval`: a check costs more than a timer, and a tenth of a second of delay does not matter.
    pub const INTERVAL_FLOOR: Duration = Duration::from_millis(100);
}

/// `health.storagedriver`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageHealth {
    /// On when unset. A failing store makes `/readyz` fail, but no request as in distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// 10 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Failures in a row before the server is unready; the first one counts when unset or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

/// An item of `health.file`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileCheck {
    /// The path. Required.
    pub file: String,
    /// 10 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Failures in a row before the check counts as failing. Distribution has the key and ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

/// An item of `health.http`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpCheck {
    /// The URL of the HEAD request. Required.
    pub uri: String,
    /// Headers of the request. They are secrets: one may hold a token.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<Secret>>,
    /// The expected status; 200 when unset or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuscode: Option<u16>,
    /// How long an answer may take; 10 s when unset or 0, where distribution waits for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// 10 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Failures in a row before it counts; the first one does when unset or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

impl HttpCheck {
    /// The expected status.
    pub fn expected(&self) -> u16 {
        self.statuscode.filter(|code| *code != 0).unwrap_or(200)
    }
}

/// An item of `health.tcp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpCheck {
    /// `host:port`. Required.
    pub addr: String,
    /// How long a connection may take; 10 s when unset or 0, where distribution waits as long as the system does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// 10 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Failures in a row before it counts; the first one does when unset or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

/// An `interval` or a `timeout` of this section: 10 s when unset, 0 or negative.
pub fn ten_seconds_unless(span: Option<GoDuration>) -> Duration {
    span.and_then(|span| span.positive())
        .filter(|span| !span.is_zero())
        .unwrap_or(Duration::from_secs(10))
}
