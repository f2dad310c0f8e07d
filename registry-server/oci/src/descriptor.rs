//! Descriptors.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, MediaType};

/// What a manifest or an index says about content it refers to ("OCI Content Descriptors", image
/// specification 1.1). Fields this registry does not act on are not kept: a descriptor is read from a stored
/// document and never written back into one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type of the content.
    pub media_type: MediaType,
    /// The address of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    #[serde(deserialize_with = "int64")]
    pub size: u64,
    /// The kind of an artifact, when the content is a manifest that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What the producer wanted to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Other places where a foreign layer lies.
    #[serde(
        default,
        deserialize_with = "empty_if_null",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// What the content runs on, in the entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Go writes an empty list as `null` unless told otherwise, and documents in stores hold it.
fn empty_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A size is an int64, and clients read it as one ("Properties", image specification 1.1).
fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if i64::try_from(size).is_err() {
        return Err(serde::de::Error::custom("a size is larger than an int64 can be"));
    }
    Ok(size)
}

/// What a child of an index runs on ("image index", image specification 1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor architecture under its Go name.
    #[serde(default)]
    pub architecture: String,
    /// The operating system under its Go name.
    #[serde(default)]
    pub os: String,
}
