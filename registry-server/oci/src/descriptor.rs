//! Descriptors.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::fields::{self, Strings};
use crate::{Digest, MediaType};

/// A reference from a manifest or an index to content ("OCI Content Descriptors", image
/// specification 1.1). Fields this registry does not act on are not kept: a descriptor is read from a stored
/// document and never written back into one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type of the content; nothing where the document says none that is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The address of the content.
    pub digest: Digest,
    /// The size of the content in bytes; nothing where the document does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The kind of an artifact, when the content is a manifest that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Other places where the content lies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The platform of the content, in the entries of an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// The fields of the image specification.
    pub(crate) const FIELDS: &[&'static str] = &[
        "mediaType",
        "digest",
        "size",
        "urls",
        "annotations",
        "data",
        "artifactType",
        "platform",
    ];

    /// Whether the content is of a type whose layers may lie elsewhere ([`MediaType::is_nondistributable`]).
    pub fn is_nondistributable(&self) -> bool {
        self.media_type
            .as_ref()
            .is_some_and(MediaType::is_nondistributable)
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Descriptor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a descriptor")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Descriptor, A::Error> {
                descriptor(map)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn descriptor<'de, A: MapAccess<'de>>(map: A) -> Result<Descriptor, A::Error> {
    let mut digest: Option<Digest> = None;
    let mut found = Descriptor {
        media_type: None,
        digest: Digest::sha256(b""),
        size: None,
        artifact_type: None,
        annotations: None,
        urls: Vec::new(),
        platform: None,
    };
    fields::read(map, Descriptor::FIELDS, |name, map| {
        match name {
            "mediaType" => {
                let text: Option<String> = map.next_value()?;
                found.media_type = text.and_then(|text| MediaType::parse(&text).ok());
            }
            "digest" => digest = Some(map.next_value()?),
            "size" => found.size = map.next_value::<Option<Size>>()?.map(|Size(size)| size),
            "artifactType" => found.artifact_type = map.next_value()?,
            "annotations" => {
                found.annotations = map
                    .next_value::<Option<Strings>>()?
                    .map(|Strings(strings)| strings);
            }
            // Go writes an empty list as `null` unless told otherwise, and documents in stores hold it.
            "urls" => {
                let urls: Option<Vec<Option<String>>> = map.next_value()?;
                let urls = urls.into_iter().flatten();
                found.urls = urls.map(Option::unwrap_or_default).collect();
            }
            "platform" => found.platform = map.next_value()?,
            _ => {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(())
    })?;
    found.digest = digest.ok_or_else(|| A::Error::missing_field("digest"))?;
    Ok(found)
}

/// A size is an int64, and clients read it as one ("Properties", image specification 1.1).
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let size = u64::deserialize(deserializer)?;
        if i64::try_from(size).is_err() {
            return Err(D::Error::custom("a size is larger than an int64 can be"));
        }
        Ok(Self(size))
    }
}

/// The platform of an image in an index ("image index", image specification 1.1).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Platform {
    /// The processor architecture under its Go name.
    pub architecture: String,
    /// The operating system under its Go name.
    pub os: String,
}

impl Platform {
    /// The fields of the image specification, and Docker's `features`.
    pub(crate) const FIELDS: &[&'static str] = &[
        "architecture",
        "os",
        "os.version",
        "os.features",
        "variant",
        "features",
    ];
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Platform;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a platform")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Platform, A::Error> {
                let mut found = Platform::default();
                fields::read(map, Platform::FIELDS, |name, map| {
                    if name.ends_with("features") {
                        map.next_value::<Option<Vec<Option<String>>>>()?;
                        return Ok(());
                    }
                    let text = map.next_value::<Option<String>>()?.unwrap_or_default();
                    match name {
                        "architecture" => found.architecture = text,
                        "os" => found.os = text,
                        _ => {}
                    }
                    Ok(())
                })?;
                Ok(found)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
