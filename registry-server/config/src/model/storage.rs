//! `storage`: one driver, and the reserved keys beside it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Azure, S3, unset};
use crate::GoDuration;

/// `storage`: exactly one driver, and what holds for each of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// A folder, in distribution's layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    /// The memory of this process; gone when it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inmemory: Option<Inmemory>,
    /// A bucket of S3 or of a store that speaks its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// A container of Azure Blob Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// Whether content may be deleted.
    #[serde(skip_serializing_if = "unset")]
    pub delete: Delete,
    /// Whether clients are sent to the store itself for blobs.
    #[serde(skip_serializing_if = "unset")]
    pub redirect: Redirect,
    /// The descriptor cache.
    #[serde(skip_serializing_if = "unset")]
    pub cache: Cache,
    /// Read-only mode and the purging of abandoned uploads.
    #[serde(skip_serializing_if = "unset")]
    pub maintenance: Maintenance,
}

/// `storage.filesystem`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filesystem {
    /// The folder; `/var/lib/registry` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootdirectory: Option<String>,
    /// File calls at once; 100 when unset, never less than 25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxthreads: Option<u32>,
}

impl Filesystem {
    /// The folder in use.
    pub fn root(&self) -> &str {
        self.rootdirectory.as_deref().unwrap_or("/var/lib/registry")
    }

    /// File calls at once, when configured. Distribution raises what is lower than 25.
    pub fn threads(&self) -> Option<usize> {
        self.maxthreads
            .map(|threads| usize::try_from(threads).unwrap_or(usize::MAX).max(25))
    }
}

/// `storage.inmemory`: has no keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inmemory {}

/// `storage.delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delete {
    /// Manifests, blobs and tags may be deleted; off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// `storage.redirect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redirect {
    /// Blobs always pass through the server. Of no effect on stores without addresses of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
}

/// `storage.cache`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cache {
    /// `inmemory` or `redis`; accepted without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobdescriptor: Option<String>,
}

/// `storage.maintenance`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Maintenance {
    /// Whether writes are refused.
    #[serde(skip_serializing_if = "unset")]
    pub readonly: ReadOnly,
    /// The purging of abandoned uploads.
    #[serde(skip_serializing_if = "unset")]
    pub uploadpurging: UploadPurging,
}

impl Maintenance {
    /// Whether nothing in the store may change.
    pub fn is_read_only(&self) -> bool {
        self.readonly.enabled == Some(true)
    }
}

/// `storage.maintenance.readonly`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadOnly {
    /// Every write is answered 405; off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// `storage.maintenance.uploadpurging`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UploadPurging {
    /// On when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How long the data of an upload may lie unwritten; 168 h when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<GoDuration>,
    /// Time between two runs; 24 h when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Only counts what it would remove; off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dryrun: Option<bool>,
}

impl UploadPurging {
    /// How long the data of an upload may lie unwritten. Negative is refused with the configuration.
    pub fn age(&self) -> Duration {
        match self.age {
            Some(span) => span.positive().unwrap_or(Self::AGE),
            None => Self::AGE,
        }
    }

    /// Time between two runs. Negative and none at all are refused with the configuration.
    pub fn interval(&self) -> Duration {
        match self.interval {
            Some(span) => span
                .positive()
                .filter(|span| !span.is_zero())
                .unwrap_or(Self::INTERVAL),
            None => Self::INTERVAL,
        }
    }

    const AGE: Duration = Duration::from_secs(168 * 3600);
    const INTERVAL: Duration = Duration::from_secs(24 * 3600);
}
