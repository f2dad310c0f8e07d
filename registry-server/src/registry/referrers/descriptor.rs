//! The descriptor that a manifest has in the list of its subject's referrers, as JSON.

use bytes::Bytes;
use registry_oci::{ARTIFACT_TYPE_MAX, Digest, Manifest, Referrer};

use super::page::DESCRIPTOR_MAX;
use crate::registry::manifest_parser::ParsedManifest;
use crate::registry::{Error, offload};

/// The entry of a manifest in the referrers index.
#[derive(Debug, Clone)]
pub(in crate::registry) struct ReferrerEntry {
    /// The manifest to which it refers.
    pub(in crate::registry) subject: Digest,
    /// Its descriptor, as JSON.
    pub(in crate::registry) json: Bytes,
}

/// Up to this size the descriptor of a manifest is made in a fraction of a millisecond.
const QUICK: usize = 64 * 1024;

/// The descriptor of a manifest among the referrers of its subject, as JSON. An artifact type that is too long is left
/// out.
pub(super) fn serialized(digest: &Digest, manifest: &Manifest, bytes: &Bytes) -> Bytes {
    let mut entry = manifest.referrer(*digest, bytes);
    entry.artifact_type = entry.artifact_type.filter(|kind| kind.len() <= ARTIFACT_TYPE_MAX);
    to_json(&entry)
}

fn to_json(entry: &Referrer<'_>) -> Bytes {
    let json = serde_json::to_vec(entry);
    json.expect("a descriptor has string keys only and is always JSON")
        .into()
}

/// The same as [`serialized`], on another thread where it takes long.
pub(super) async fn descriptor(
    digest: Digest,
    manifest: &ParsedManifest,
    bytes: &Bytes,
) -> Result<Bytes, Error> {
    if bytes.len() <= QUICK {
        return Ok(serialized(&digest, manifest, bytes));
    }
    let (manifest, bytes) = (manifest.share(), bytes.clone());
    offload::blocking(move || serialized(&digest, &manifest, &bytes)).await
}

/// The same as [`descriptor`], without annotations when no page has room for them.
pub(super) async fn fitting(
    digest: Digest,
    manifest: &ParsedManifest,
    bytes: &Bytes,
) -> Result<Bytes, Error> {
    let json = descriptor(digest, manifest, bytes).await?;
    if json.len() <= DESCRIPTOR_MAX {
        return Ok(json);
    }
    let (manifest, bytes) = (manifest.share(), bytes.clone());
    offload::blocking(move || {
        let mut entry = manifest.referrer(digest, &bytes);
        entry.artifact_type = entry.artifact_type.filter(|kind| kind.len() <= ARTIFACT_TYPE_MAX);
        entry.annotations = None;
        to_json(&entry)
    })
    .await
}
