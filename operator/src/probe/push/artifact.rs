//! The artifact that is pushed: a manifest without files but a line of text, in the form that the image specification
//! gives to artifacts ("Guidelines for Artifact Usage").

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::names::hex;

/// The media type of the manifest.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The type by which people recognise the artifact.
const ARTIFACT_TYPE: &str = "application/vnd.berth.verification.v1";
/// The media type of an empty configuration.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// Bytes with their digest.
pub(super) struct Blob {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
}

impl Blob {
    fn of(bytes: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        Self { bytes, digest }
    }
}

/// A manifest and the blobs that it names.
pub(super) struct Artifact {
    pub(super) blobs: [Blob; 2],
    pub(super) manifest: Blob,
}

impl Artifact {
    /// The artifact. It is the same each time, so that what stays of it, until the garbage is collected at least, does not
    /// become more.
    pub(super) fn new() -> Self {
        let config = Blob::of(b"{}".to_vec());
        let layer = Blob::of(b"Pushed by berth-operator to verify this registry.\n".to_vec());
        let descriptor = |media_type: &str, blob: &Blob| json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.bytes.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": descriptor(EMPTY_TYPE, &config),
            "layers": [descriptor("text/plain", &layer)],
        });
        Self {
            blobs: [config, layer],
            manifest: Blob::of(manifest.to_string().into_bytes()),
        }
    }
}
