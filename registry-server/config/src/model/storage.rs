//! `storage`: one driver, and the settings of all drivers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::azure::Azure;
use super::gcs::Gcs;
use super::s3::S3;
use super::unset::unset;
use crate::GoDuration;

/// `storage`: exactly one driver, and the settings of all drivers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// A folder, in distribution's layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    /// The memory of this process; lost when it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inmemory: Option<Inmemory>,
    /// A bucket of S3 or of a store with its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// A container of Azure Blob Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// A bucket of Google Cloud Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcs: Option<Gcs>,
    /// Whether content may be deleted.
    #[serde(skip_serializing_if = "unset")]
    pub delete: Delete,
    /// Whether clients are redirected to the store for blobs.
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

    /// File calls at once, when configured. As in distribution, at least 25.
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
    /// Blobs always pass through the server. No effect on stores whose objects have no URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
}

/// `storage.cache`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cache {
    /// The cache of descriptors; none when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobdescriptor: Option<CacheKind>,
    /// The old name of `blobdescriptor`, read when that is unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layerinfo: Option<CacheKind>,
    /// The largest number of descriptors in memory; 10,000 when unset, unlimited when 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobdescriptorsize: Option<u64>,
}

impl Cache {
    /// The configured cache.
    pub fn kind(&self) -> Option<CacheKind> {
        self.blobdescriptor.or(self.layerinfo)
    }

    /// The largest number of descriptors in memory; `None` for no limit.
    pub fn limit(&self) -> Option<usize> {
        match self.blobdescriptorsize {
            Some(0) => None,
            Some(limit) => Some(usize::try_from(limit).unwrap_or(usize::MAX)),
            None => Some(10_000),
        }
    }
}

/// The cache of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// In the memory of the process.
    Inmemory,
    /// In Redis, for all replicas.
    Redis,
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
    /// The owner of the store: one name for all servers of a registry, and another one for each other registry. A server
    /// does not start on a store of another owner. A key of Berth, in the one section where distribution ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Maintenance {
    /// Whether the server is read-only.
    pub fn is_read_only(&self) -> bool {
        self.readonly.enabled == Some(true)
    }

    /// The owner of the store, if configured.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref().filter(|owner| !owner.is_empty())
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
    /// How long an upload may be without a write before it is purged; 168 h when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<GoDuration>,
    /// Time between two runs; 24 h when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Counts the uploads without removing them; off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dryrun: Option<bool>,
}

impl UploadPurging {
    /// How long an upload may be without a write before it is purged. The configuration refuses values below
    /// [`Self::AGE_FLOOR`].
    pub fn age(&self) -> Duration {
        let age = self.age.and_then(GoDuration::positive);
        age.unwrap_or(Self::AGE).max(Self::AGE_FLOOR)
    }

    /// Time between two runs. The configuration refuses values below [`Self::INTERVAL_FLOOR`].
    pub fn interval(&self) -> Duration {
        let interval = self.interval.and_then(GoDuration::positive);
        interval.unwrap_or(Self::INTERVAL).max(Self::INTERVAL_FLOOR)
    }

    /// The shortest age: a client needs time between two requests of an upload.
    pub const AGE_FLOOR: Duration = Duration::from_secs(60);
    /// The shortest interval: each purge walks the whole store.
    pub const INTERVAL_FLOOR: Duration = Duration::from_secs(1);

    const AGE: Duration = Duration::from_secs(168 * 3600);
    const INTERVAL: Duration = Duration::from_secs(24 * 3600);
}
