//! The entry of a manifest in the referrers of its subject (OCI distribution 1.1, "Listing Referrers").
//!
//! A type is listed as its author wrote it, and two are the same without regard to case (RFC 6838, section 4.2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::{Digest, MediaType};

/// The longest type that is listed, in bytes. The two halves of a type have 127 each (RFC 6838, section 4.2); the rest
/// is for parameters.
pub const ARTIFACT_TYPE_MAX: usize = 1024;

/// The descriptor of a manifest in the list of its subject's referrers, to be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer<'a> {
    /// The type of the manifest.
    pub media_type: &'a MediaType,
    /// The digest it is known by.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The kind of artifact it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a BTreeMap<String, String>>,
}

/// The type of a config, as it is written.
#[derive(Deserialize)]
struct Written {
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: Option<String>,
}

impl Manifest {
    /// The entry of this document, with these bytes, in the list of its subject's referrers. An image manifest
    /// without `artifactType` has the media type of its config.
    pub fn referrer(&self, digest: Digest, bytes: &[u8]) -> Referrer<'_> {
        let own = self.artifact_type.clone().filter(|kind| !kind.is_empty());
        Referrer {
            media_type: &self.media_type,
            digest,
            size: bytes.len() as u64,
            artifact_type: own.or_else(|| self.config_type(bytes)),
            annotations: self.annotations.as_ref(),
        }
    }

    fn config_type(&self, bytes: &[u8]) -> Option<String> {
        let media_type = self.config.as_ref()?.media_type.as_ref()?;
        let written = serde_json::from_slice::<Written>(bytes).ok();
        let written = written.and_then(|written| written.config?.media_type);
        // Parameters that are longer than any type say nothing.
        let written = written.filter(|written| written.len() <= ARTIFACT_TYPE_MAX);
        Some(written.unwrap_or_else(|| media_type.as_str().to_owned()))
    }
}

/// Whether two media types are equal. A space counts as a plus: a type cannot hold a space, and an unencoded plus in a query
/// is read as one.
pub fn is_same_type(one: &str, two: &str) -> bool {
    let letters = |text: &str| -> Vec<u8> {
        let plus = |byte| if byte == b' ' { b'+' } else { byte };
        text.bytes().map(|byte| plus(byte.to_ascii_lowercase())).collect()
    };
    one.len() == two.len() && letters(one) == letters(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(config: &str, more: &str) -> Option<String> {
        let digest = Digest::sha256(b"{}");
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{digest}","size":2}},"layers":[]{more}}}"#
        );
        let manifest = Manifest::parse(text.as_bytes(), Some(&MediaType::OCI_MANIFEST)).unwrap();
        let entry = manifest.referrer(Digest::sha256(b"m"), text.as_bytes());
        assert_eq!(entry.size, text.len() as u64);
        entry.artifact_type
    }

    #[test]
    fn an_artifact_is_known_by_its_config_type_as_written_unless_it_says_otherwise() {
        for config in [
            "application/vnd.oci.empty.v1+json",
            "Application/Vnd.OCI.Empty.v1+JSON; charset=utf-8",
        ] {
            assert_eq!(listed(config, "").as_deref(), Some(config));
            assert_eq!(listed(config, r#","artifactType":"""#).as_deref(), Some(config));
            assert_eq!(
                listed(config, r#","artifactType":"App/SBOM""#).as_deref(),
                Some("App/SBOM")
            );
        }
        let long = format!("A/b; x={}", "y".repeat(ARTIFACT_TYPE_MAX));
        assert_eq!(listed(&long, "").as_deref(), Some("a/b"));
    }

    #[test]
    fn types_are_the_same_without_regard_to_case_and_a_space_is_a_plus() {
        assert!(is_same_type("application/SPDX+json", "application/spdx json"));
        assert!(is_same_type("a/b; x=y", "A/B;+x=y"));
        assert!(!is_same_type("a/b", "a/b; x=y"));
        assert!(!is_same_type("a/b", "a/c"));
    }
}
