//! Media types.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::error::quoted;

/// A media type without parameters, in lower case: `type/subtype` (RFC 6838, section 4.2).
///
/// Invariants: both halves are 1 to 127 bytes of the restricted name characters, so that it is safe in a header.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    /// `application/vnd.oci.image.manifest.v1+json`
    pub const OCI_MANIFEST: Self = Self(Cow::Borrowed("application/vnd.oci.image.manifest.v1+json"));
    /// `application/vnd.oci.image.index.v1+json`
    pub const OCI_INDEX: Self = Self(Cow::Borrowed("application/vnd.oci.image.index.v1+json"));
    /// `application/vnd.docker.distribution.manifest.v2+json`
    pub const DOCKER_MANIFEST: Self = Self(Cow::Borrowed(
        "application/vnd.docker.distribution.manifest.v2+json",
    ));
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    pub const DOCKER_LIST: Self = Self(Cow::Borrowed(
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ));
    /// `application/vnd.docker.distribution.manifest.v1+json`, found in old volumes only
    pub const DOCKER_SCHEMA1: Self = Self(Cow::Borrowed(
        "application/vnd.docker.distribution.manifest.v1+json",
    ));
    /// `application/vnd.docker.distribution.manifest.v1+prettyjws`, found in old volumes only
    pub const DOCKER_SCHEMA1_SIGNED: Self = Self(Cow::Borrowed(
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ));
    /// `application/vnd.oci.image.config.v1+json`
    pub const OCI_CONFIG: Self = Self(Cow::Borrowed("application/vnd.oci.image.config.v1+json"));
    /// `application/vnd.docker.container.image.v1+json`
    pub const DOCKER_CONFIG: Self = Self(Cow::Borrowed("application/vnd.docker.container.image.v1+json"));
    /// `application/vnd.docker.plugin.v1+json`
    pub const DOCKER_PLUGIN_CONFIG: Self = Self(Cow::Borrowed("application/vnd.docker.plugin.v1+json"));
    /// `application/vnd.docker.image.rootfs.foreign.diff.tar.gzip`
    pub const DOCKER_FOREIGN_LAYER: Self = Self(Cow::Borrowed(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ));
    /// `application/octet-stream`
    pub const OCTET_STREAM: Self = Self(Cow::Borrowed("application/octet-stream"));

    /// Reads a media type; parameters after `;` are dropped and letters lowered.
    ///
    /// # Errors
    /// [`Error::InvalidMediaType`], the caller's fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.split_once('/') {
            Some((kind, subtype)) if is_restricted_name(kind) && is_restricted_name(subtype) => {
                Ok(Self(Cow::Owned(essence.to_ascii_lowercase())))
            }
            _ => Err(Error::InvalidMediaType { given: quoted(text) }),
        }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is one of Docker's two documents, whose `mediaType` field is not optional (Docker image
    /// manifest version 2, schema 2).
    pub fn is_docker(&self) -> bool {
        [Self::DOCKER_MANIFEST, Self::DOCKER_LIST].contains(self)
    }

    /// Whether a layer of this type may lie elsewhere: the image specification's deprecated
    /// "non-distributable" layers and Docker's foreign layers.
    pub fn is_nondistributable(&self) -> bool {
        self.0
            .starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self.0.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }
}

fn is_restricted_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= 127
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(byte))
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        let parsed = MediaType::parse("Application/VND.oci.image.index.v1+json; charset=utf-8").unwrap();
        assert_eq!(parsed, MediaType::OCI_INDEX);
    }

    #[test]
    fn anything_but_two_restricted_names_is_refused() {
        for text in [
            "",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "a /b",
            "a/b c",
            "ä/b",
            "a/\n",
            &format!("a/{}", "b".repeat(128)),
        ] {
            assert!(MediaType::parse(text).is_err(), "accepted: {text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_mutated_type_panics_and_what_is_accepted_is_printable(
            text in registry_mutation::mutated_text(&["application/vnd.oci.image.index.v1+json; charset=utf-8", "*/*", "a/b"])
        ) {
            if let Ok(parsed) = MediaType::parse(&text) {
                prop_assert!(parsed.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn no_input_panics_and_what_is_accepted_is_printable(text in "\\PC{0,60}") {
            if let Ok(parsed) = MediaType::parse(&text) {
                prop_assert!(parsed.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
