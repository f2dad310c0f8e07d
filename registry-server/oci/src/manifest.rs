//! Manifests and indexes, as far as a registry needs to read them.

mod artifact;
mod lenient;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::fields::{self, Strings};
use crate::{Descriptor, Error, MediaType};

pub use artifact::{ARTIFACT_TYPE_MAX, Referrer, is_same_type};

/// The largest manifest in bytes: 4 MiB (distribution's limit; OCI distribution main branch, "Pushing
/// manifests", asks that at least this much is accepted).
pub const MANIFEST_MAX: usize = 4 * 1024 * 1024;

/// The kind of a manifest document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// An image manifest: a config and layers (OCI image manifest, Docker schema 2).
    Image,
    /// An index: a list of manifests (OCI image index, Docker manifest list).
    Index,
    /// A Docker schema 1 document, served from old volumes and never accepted.
    Schema1,
}

/// The fields of a pushed document that a registry reads. The document's bytes are never rebuilt from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Image manifest or index.
    pub kind: ManifestKind,
    /// The media type under which it is served.
    pub media_type: MediaType,
    /// The config, present in an image manifest.
    pub config: Option<Descriptor>,
    /// The layers of an image manifest.
    pub layers: Vec<Descriptor>,
    /// The children of an index.
    pub manifests: Vec<Descriptor>,
    /// The subject of this manifest (OCI distribution 1.1, "Pushing manifests with subject").
    pub subject: Option<Descriptor>,
    /// The kind of artifact as the document states it.
    pub artifact_type: Option<String>,
    /// The annotations of the document.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The most lists and objects that may be nested in a pushed document: what Go's `encoding/json` takes.
const DEPTH_MAX: usize = 10_000;

/// The fields of both documents ("Image Manifest Property Descriptions" and "Image Index Property Descriptions", image
/// specification 1.1). A document of one kind has none of the other's.
const FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
];

#[derive(Default)]
struct Document {
    schema_version: Option<u64>,
    /// As it is written.
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a manifest")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
                let mut found = Document::default();
                fields::read(map, FIELDS, |name, map| {
                    match name {
                        "schemaVersion" => found.schema_version = map.next_value()?,
                        "mediaType" => found.media_type = map.next_value()?,
                        "config" => found.config = map.next_value()?,
                        "layers" => found.layers = map.next_value()?,
                        "manifests" => found.manifests = map.next_value()?,
                        "subject" => found.subject = map.next_value()?,
                        "artifactType" => found.artifact_type = map.next_value()?,
                        _ => {
                            let strings: Option<Strings> = map.next_value()?;
                            found.annotations = strings.map(|Strings(strings)| strings);
                        }
                    }
                    Ok(())
                })?;
                Ok(found)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Just enough to tell an old document from a broken one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    schema_version: Option<u64>,
    signatures: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Looks into a document; `declared` is the `Content-Type` it was sent with, or nothing for stored bytes.
    ///
    /// # Errors
    /// [`Error::InvalidManifest`], the caller's fault, when the bytes are not JSON of the right shape, when the
    /// document's own `mediaType` differs from the declared one (image specification 1.1, "mediaType"), or when
    /// the type is none of the four this registry keeps.
    pub fn parse(bytes: &[u8], declared: Option<&MediaType>) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::manifest(reason);
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(&error.to_string()))?;
        if declared.is_some() && fields::depth(text) > DEPTH_MAX {
            return Err(invalid(&format!(
                "lists and objects are nested deeper than {DEPTH_MAX}"
            )));
        }
        let version: Version = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
        if version.schema_version == Some(1) {
            return match declared {
                None => Ok(Self::schema1(version.signatures.is_some())),
                Some(_) => Err(invalid("schema 1 documents are no longer accepted")),
            };
        }
        let document: Document = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
        let Document {
            schema_version,
            media_type,
            config,
            layers,
            manifests,
            subject,
            artifact_type,
            annotations,
        } = document;
        if schema_version != Some(2) {
            return Err(invalid("`schemaVersion` is not 2"));
        }
        let media_type = match (own_type(media_type)?, declared) {
            (Some(own), Some(declared)) if own != *declared => {
                return Err(invalid(&format!(
                    "its `mediaType` is {own} but it was sent as {declared}"
                )));
            }
            (Some(own), _) => own,
            // The stored bytes would not say it any more, and be served as an OCI type. Distribution refuses it too.
            (None, Some(declared)) if declared.is_docker() => {
                return Err(invalid(&format!("a {declared} needs a `mediaType` that says so")));
            }
            (None, Some(declared)) if *declared == MediaType::OCI_INDEX && manifests.is_none() => {
                return Err(invalid(
                    "an index needs `manifests`, or a `mediaType` that says what it is",
                ));
            }
            (None, Some(declared)) => declared.clone(),
            (None, None) if manifests.is_some() && config.is_none() => MediaType::OCI_INDEX,
            (None, None) => MediaType::OCI_MANIFEST,
        };
        let kind =
            kind(&media_type).ok_or_else(|| invalid(&format!("type {media_type} is not supported")))?;
        // A document that is an image to one client and an index to another is an attack, not a manifest
        // (OCI image specification 1.1, "mediaType", after CVE-2021-41190).
        match kind {
            ManifestKind::Image if manifests.is_some() => {
                return Err(invalid("an image manifest has no `manifests`"));
            }
            ManifestKind::Image if config.is_none() => {
                return Err(invalid("an image manifest needs a `config`"));
            }
            ManifestKind::Index if config.is_some() || layers.is_some() => {
                return Err(invalid("an index has neither `config` nor `layers`"));
            }
            ManifestKind::Image | ManifestKind::Index | ManifestKind::Schema1 => {}
        }
        Ok(Self {
            kind,
            media_type,
            config,
            layers: layers.unwrap_or_default(),
            manifests: manifests.unwrap_or_default(),
            subject,
            artifact_type,
            annotations,
        })
    }

    /// The content it refers to as its own: config, layers, and the children of an index.
    pub fn references(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).chain(&self.manifests)
    }

    fn schema1(signed: bool) -> Self {
        let media_type = if signed {
            MediaType::DOCKER_SCHEMA1_SIGNED
        } else {
            MediaType::DOCKER_SCHEMA1
        };
        Self {
            kind: ManifestKind::Schema1,
            media_type,
            config: None,
            layers: Vec::new(),
            manifests: Vec::new(),
            subject: None,
            artifact_type: None,
            annotations: None,
        }
    }
}

/// The type a document says it is. An empty one says nothing, as to Go.
fn own_type(written: Option<String>) -> Result<Option<MediaType>, Error> {
    let Some(written) = written.filter(|written| !written.is_empty()) else {
        return Ok(None);
    };
    let own = MediaType::parse(&written).map_err(|error| Error::manifest(error.to_string()))?;
    if own.as_str() != written {
        // Clients compare it letter by letter.
        return Err(Error::manifest(format!(
            "its `mediaType` is not written as {own}"
        )));
    }
    Ok(Some(own))
}

fn kind(media_type: &MediaType) -> Option<ManifestKind> {
    if [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST].contains(media_type) {
        Some(ManifestKind::Image)
    } else if [MediaType::OCI_INDEX, MediaType::DOCKER_LIST].contains(media_type) {
        Some(ManifestKind::Index)
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Digest;

    const EMPTY: &str = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    fn parse(text: &str, declared: Option<&MediaType>) -> Result<Manifest, String> {
        Manifest::parse(text.as_bytes(), declared).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(text: &str, declared: Option<&MediaType>, expected: &str) {
        let error = parse(text, declared).expect_err(text);
        assert!(
            error.contains(expected),
            "input: {text}\nexpected: {expected}\ngot: {error}"
        );
    }

    #[test]
    fn stored_bytes_without_a_type_are_recognised_by_their_shape() {
        let index = parse(r#"{"schemaVersion":2,"manifests":[]}"#, None).unwrap();
        assert_eq!(
            (index.kind, index.media_type),
            (ManifestKind::Index, MediaType::OCI_INDEX)
        );
        let image = parse(
            &format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[]}}"#),
            None,
        )
        .unwrap();
        assert_eq!(
            (image.kind, image.media_type),
            (ManifestKind::Image, MediaType::OCI_MANIFEST)
        );
    }

    #[test]
    fn schema_1_is_served_from_old_volumes_and_refused_when_pushed() {
        let old = r#"{"schemaVersion":1,"name":"x","fsLayers":[],"signatures":[{}]}"#;
        assert_eq!(
            parse(old, None).unwrap().media_type,
            MediaType::DOCKER_SCHEMA1_SIGNED
        );
        refused(old, Some(&MediaType::DOCKER_SCHEMA1_SIGNED), "no longer accepted");
    }

    #[test]
    fn documents_that_break_a_rule_are_refused_with_it() {
        let oci = Some(&MediaType::OCI_MANIFEST);
        refused("", oci, "EOF");
        refused("[]", oci, "invalid");
        refused("{}", oci, "schemaVersion");
        refused(r#"{"schemaVersion":3}"#, oci, "schemaVersion");
        refused(r#"{"schemaVersion":2}"#, oci, "needs a `config`");
        refused(
            r#"{"schemaVersion":2}"#,
            Some(&MediaType::OCI_INDEX),
            "needs `manifests`",
        );
        refused(
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
            Some(&MediaType::OCI_INDEX),
            "neither",
        );
        refused(
            &format!(r#"{{"schemaVersion":2,"config":{EMPTY},"manifests":[]}}"#),
            oci,
            "has no `manifests`",
        );
        refused(r#"{"schemaVersion":2,"schemaVersion":2}"#, oci, "duplicate");
        let other =
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        refused(other, oci, "sent as application/vnd.oci.image.manifest.v1+json");
        refused(
            r#"{"schemaVersion":2}"#,
            Some(&MediaType::OCTET_STREAM),
            "not supported",
        );
        let bad = EMPTY.replace("sha256:44", "sha256:zz");
        refused(
            &format!(r#"{{"schemaVersion":2,"config":{bad},"layers":[]}}"#),
            oci,
            "lower-case",
        );
        refused(
            &format!(r#"{{"schemaVersion":2,"config":{EMPTY},"annotations":{{"a":1}}}}"#),
            oci,
            "string",
        );
    }

    pub(crate) const SEEDS: &[&str] = &[
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/b","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"urls":["https://a.example/"],"annotations":{"a":"b"}}],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7},"annotations":{"k":"v"}}"#,
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7,"platform":{"architecture":"amd64","os":"linux","os.features":null}}]}"#,
        r#"{"schemaVersion":1,"name":"a/b","tag":"v1","architecture":"amd64","fsLayers":[{"blobSum":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"history":[{"v1Compatibility":"{}"}],"signatures":[{"header":{},"signature":"x","protected":"y"}]}"#,
    ];

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Manifest::parse(&bytes, None);
        }

        #[test]
        fn no_mutated_document_panics(bytes in registry_mutation::mutated(SEEDS)) {
            for declared in [None, Some(&MediaType::OCI_MANIFEST), Some(&MediaType::OCI_INDEX), Some(&MediaType::DOCKER_LIST)] {
                if let Ok(manifest) = Manifest::parse(&bytes, declared) {
                    let _ = manifest.referrer(Digest::sha256(&bytes), &bytes);
                }
            }
        }

        #[test]
        fn no_json_panics(value in "\\{(\"(schemaVersion|mediaType|config|layers|manifests|subject)\":(1|2|null|\\[\\]|\\{\\}|\"x\"),?){0,5}\\}") {
            let _ = Manifest::parse(value.as_bytes(), Some(&MediaType::OCI_MANIFEST));
        }
    }
}
