//! `storage.s3`: a bucket.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// `storage.s3`, with `storage.s3aws` as its other name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct S3 {
    /// The access key's id; with the secret key, or neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesskey: Option<Secret>,
    /// The access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secretkey: Option<Secret>,
    /// The session the keys belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessiontoken: Option<Secret>,
    /// The bucket's region; needed without `regionendpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The store's address when it is not Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regionendpoint: Option<String>,
    /// The bucket stands in the path; so when unset and `regionendpoint` is not Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forcepathstyle: Option<bool>,
    /// The bucket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// Objects are encrypted by the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<bool>,
    /// With this key of the key management service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
    /// TLS where the endpoint does not say; on when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
    /// Server certificates are not verified; off when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipverify: Option<bool>,
    /// A PEM file of CA certificates that are trusted in addition to the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<String>,
    /// Size of the first parts of an upload in bytes; 7 MiB when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunksize: Option<u64>,
    /// Size of the pieces in which large objects are copied, in bytes; 128 MiB when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipartcopychunksize: Option<u64>,
    /// How many of them are copied at once; 8 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipartcopymaxconcurrency: Option<usize>,
    /// Objects of more bytes are copied in pieces; 128 MiB when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipartcopythresholdsize: Option<u64>,
    /// Prefix of all object names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootdirectory: Option<String>,
    /// The class of new objects; none is sent when unset, `STANDARD` or `NONE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storageclass: Option<String>,
    /// The canned access control list of new objects; none is sent when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objectacl: Option<String>,
    /// The `User-Agent` of requests to the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub useragent: Option<String>,
    /// Amazon's addresses for both internet protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usedualstack: Option<bool>,
    /// Amazon's accelerated addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerate: Option<bool>,
    /// Amazon's addresses with validated cryptography.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usefipsendpoint: Option<bool>,
    /// The address clients are sent to for blobs, when they reach the store by another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirectendpoint: Option<String>,
}

impl S3 {
    /// The smallest part every store takes.
    pub const PART_MIN: u64 = 5 << 20;
    /// The largest part, and the largest piece of a copy.
    pub const PART_MAX: u64 = 5 << 30;
}
