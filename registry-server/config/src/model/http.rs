//! `http`: addresses, TLS, headers and the secret of upload sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::unset::unset;
use crate::{GoDuration, Secret};

/// `http`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// `host:port`, `:port`, or a path when `net` is `unix`; `:5000` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// Kind of `addr`; `tcp` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<Net>,
    /// The registry's external URL, `https://registry.example.com`. It wins over every header of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path in front of `/v2/`, with a slash at both ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The secret that signs the state of uploads. Must be the same on all replicas. Random, with a warning, when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Earlier secrets: uploads that were signed with one of them can continue. A key of Berth, unknown to distribution.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub previoussecrets: Vec<Secret>,
    /// Location headers hold path and query only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relativeurls: Option<bool>,
    /// How long running requests may take to finish after a stop signal; 30 s when unset.
    /// Distribution's default is not to wait at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draintimeout: Option<GoDuration>,
    /// How long new connections are accepted after a stop signal, while readiness fails already; not at all when unset.
    /// A key of Berth, unknown to distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draindelay: Option<GoDuration>,
    /// Peers (CIDR) whose forwarding headers are trusted; those of all peers when unset, as in distribution. Never
    /// an empty list. A key of Berth, unknown to distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trustedproxies: Option<Vec<String>>,
    /// TLS on the main address; plain HTTP when unset.
    #[serde(skip_serializing_if = "unset")]
    pub tls: Tls,
    /// Headers of every response.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// A second address for probes.
    #[serde(skip_serializing_if = "unset")]
    pub debug: Debug,
    /// HTTP/2 over TLS.
    #[serde(skip_serializing_if = "unset")]
    pub http2: Http2,
    /// HTTP/2 without TLS.
    #[serde(skip_serializing_if = "unset")]
    pub h2c: H2c,
    /// Limits for clients. A section of Berth, unknown to distribution.
    #[serde(skip_serializing_if = "unset")]
    pub limits: Limits,
}

impl Http {
    /// How long a stop waits for running requests. Negative means not at all.
    pub fn drain(&self) -> Duration {
        match self.draintimeout {
            Some(span) => span.positive().unwrap_or_default(),
            None => Duration::from_secs(30),
        }
    }

    /// How long new connections are accepted after a stop signal. Negative means not at all.
    pub fn drain_delay(&self) -> Duration {
        self.draindelay
            .and_then(|span| span.positive())
            .unwrap_or_default()
    }
}

/// `http.net`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// Host and port.
    #[default]
    Tcp,
    /// A socket in the file system.
    Unix,
}

/// `http.tls`. On when `certificate` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// PEM file: the certificate, then its chain. Re-read when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// PEM file with the private key. Re-read when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// PEM files with the CAs of client certificates. When set, clients are asked for a certificate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clientcas: Vec<String>,
    /// Whether a client certificate is required; `require-and-verify-client-cert` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clientauth: Option<ClientAuth>,
    /// The lowest TLS version; `tls1.2` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimumtls: Option<TlsVersion>,
    /// Whether plain HTTP is answered on the same address too, for the time in which clients and proxies move from one
    /// to the other; `false` when unset. A key of Berth, unknown to distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowplaintext: Option<bool>,
}

/// `http.tls.clientauth`. The two modes of distribution that take any certificate unverified are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuth {
    /// A client without a valid certificate is refused.
    #[default]
    #[serde(rename = "require-and-verify-client-cert")]
    RequireAndVerify,
    /// A client may have no certificate, but an invalid one is refused.
    #[serde(rename = "verify-client-cert-if-given")]
    VerifyIfGiven,
}

/// `http.tls.minimumtls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "tls1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// `http.debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Debug {
    /// The address of `/livez`, `/readyz` and `/debug/health`, in plain HTTP and without authentication: `host:port`,
    /// `:port`, or the absolute path of a unix socket, which distribution does not support. Off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// Metrics.
    #[serde(skip_serializing_if = "unset")]
    pub prometheus: Prometheus,
}

impl Debug {
    /// Kind of `addr`.
    pub fn net(&self) -> Net {
        match self.addr.as_deref() {
            Some(path) if path.starts_with('/') => Net::Unix,
            Some(_) | None => Net::Tcp,
        }
    }
}

/// `http.debug.prometheus`: metrics on `http.debug.addr`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prometheus {
    /// Off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// `/metrics` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Prometheus {
    /// The path in use, with a slash at the beginning.
    pub fn path(&self) -> String {
        match self.path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) if path.starts_with('/') => path.to_owned(),
            Some(path) => format!("/{path}"),
            None => "/metrics".to_owned(),
        }
    }
}

/// `http.http2`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Http2 {
    /// Offers HTTP/1.1 alone in the TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// `http.h2c`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct H2c {
    /// Off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}
