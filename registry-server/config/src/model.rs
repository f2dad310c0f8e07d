//! The typed part of `config.yml`: every key that the server implements, under distribution's names.
//!
//! An unset key is `None` (or an empty collection) and is left out when serialised. Keys keep the order in which they are
//! declared. Methods give the value of an unset key, so that each default stands in one place.
//! Secrets serialise as [`crate::MASK`]. To write a file with a real secret, use [`crate::Tree::set`].
//! Start at [`Config`].

mod azure;
mod gcs;
mod health;
mod http;
mod limits;
mod log;
mod redis;
mod s3;
mod storage;
mod unset;
mod validation;

use serde::{Deserialize, Serialize};

use crate::Tree;
use unset::unset;

pub use azure::{Azure, AzureCredentials, AzureCredentialsKind, ConnectionString};
pub use gcs::{Gcs, GcsCredentials, GcsCredentialsKind};
pub use health::{FileCheck, Health, HttpCheck, StorageHealth, TcpCheck, ten_seconds_unless};
pub use http::{ClientAuth, Debug, H2c, Http, Http2, Net, Prometheus, Tls, TlsVersion};
pub use limits::Limits;
pub use log::{AccessLog, Formatter, Hook, HookKind, HookLevel, Level, Log, MailOptions, Smtp};
pub use redis::{Redis, RedisTls};
pub use s3::S3;
pub use storage::{
    Cache, CacheKind, Delete, Filesystem, Inmemory, Maintenance, ReadOnly, Redirect, Storage, UploadPurging,
};
pub use validation::{
    Indexes, Manifests, Platform, Platforms, Policy, ReferencePolicy, RepositoryPolicy, Urls, Validation,
};

/// A whole `config.yml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The version of the format; only 0.1 exists.
    pub version: Version,
    /// Log level and format, and the access log.
    #[serde(skip_serializing_if = "unset")]
    pub log: Log,
    /// The store, and what may be done to its content.
    #[serde(skip_serializing_if = "unset")]
    pub storage: Storage,
    /// Authentication.
    #[serde(skip_serializing_if = "unset")]
    pub auth: Auth,
    /// Addresses, TLS, headers and the secret of upload sessions.
    #[serde(skip_serializing_if = "unset")]
    pub http: Http,
    /// The Redis servers of the shared descriptor cache.
    #[serde(skip_serializing_if = "unset")]
    pub redis: Redis,
    /// Checks that make the server unready or take it out of service.
    #[serde(skip_serializing_if = "unset")]
    pub health: Health,
    /// Limits of `/v2/_catalog`.
    #[serde(skip_serializing_if = "unset")]
    pub catalog: Catalog,
    /// Limits of `/v2/<name>/tags/list`.
    #[serde(skip_serializing_if = "unset")]
    pub tags: Tags,
    /// Rules for pushed manifests.
    #[serde(skip_serializing_if = "unset")]
    pub validation: Validation,
    /// Classes of content that repositories may hold.
    #[serde(skip_serializing_if = "unset")]
    pub policy: Policy,
}

impl Config {
    /// The tree of these keys. Its secrets are masks: put the real ones in with [`Tree::set`].
    pub fn to_tree(&self) -> Tree {
        // Serialising plain structs, maps with text keys and lists into a JSON value cannot fail.
        Tree::from_json(serde_json::to_value(self).unwrap_or_default())
    }
}

/// The version of the format: distribution accepts 0.1 and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// `0.1`
    #[default]
    #[serde(rename = "0.1")]
    V0_1,
}

/// `auth`: at most one member; none is an open registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// Users in a file of bcrypt hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<Htpasswd>,
    /// For tests: any `Authorization` header is good enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silly: Option<Silly>,
}

/// `auth.htpasswd`. Both keys are required.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Htpasswd {
    /// Named in the challenge, shown by clients when they ask for a password.
    pub realm: String,
    /// The file; re-read when it changes.
    pub path: String,
}

/// `auth.silly`. Both keys are required.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silly {
    /// Named in the challenge.
    pub realm: String,
    /// Named in the challenge.
    pub service: String,
}

/// `catalog`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Catalog {
    /// The most entries of one answer; 1000 when unset, 0 or negative, as in distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxentries: Option<i64>,
}

impl Catalog {
    /// The limit in force.
    pub fn limit(&self) -> usize {
        page_limit(self.maxentries)
    }
}

/// `tags`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tags {
    /// The most tags of one answer; 1000 when unset or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxtags: Option<i64>,
}

impl Tags {
    /// The limit in force.
    pub fn limit(&self) -> usize {
        page_limit(self.maxtags)
    }
}

fn page_limit(value: Option<i64>) -> usize {
    value
        .and_then(|entries| usize::try_from(entries).ok())
        .filter(|entries| *entries > 0)
        .unwrap_or(1000)
}
