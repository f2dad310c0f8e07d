//! Reads documents that another registry accepted, although they break rules: descriptors without a type or a size, keys
//! that only Go takes for fields, repeated keys (the last one counts, as in Go), unknown types. Such a document is served
//! byte for byte; only the fields that a registry needs are read from it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{FIELDS, Manifest, ManifestKind, kind};
use crate::descriptor::Platform;
use crate::{Descriptor, Digest, Error, MediaType, fields};

impl Manifest {
    /// Reads a stored document, which another registry may have accepted. A part that breaks a rule of
    /// [`Manifest::parse`] is left out. The media type is the one in the document, or else the one its fields suggest.
    ///
    /// # Errors
    /// [`Error::InvalidManifest`] when it is no JSON object.
    pub fn of_stored(bytes: &[u8]) -> Result<Self, Error> {
        match Self::parse(bytes, None) {
            Ok(manifest) => Ok(manifest),
            Err(broken) => read(bytes).ok_or(broken),
        }
    }
}

/// Reads as much of a document as is understood; `None` when it is no JSON object.
fn read(bytes: &[u8]) -> Option<Manifest> {
    // Bytes that are no UTF-8 are part of no field.
    let text = String::from_utf8_lossy(bytes);
    let mut json = serde_json::Deserializer::from_str(&text);
    let document = Within(Level::Document, 0).deserialize(&mut json).ok()?;
    json.end().ok()?;
    let Value::Object(_) = document else {
        return None;
    };
    let config = document.get("config").and_then(descriptor);
    let (layers, manifests) = (list(&document, "layers"), list(&document, "manifests"));
    let own = document.text("mediaType");
    let own = own.and_then(|own| MediaType::parse(own).ok());
    let is_index = matches!(document.get("manifests"), Some(Value::List(_))) && config.is_none();
    if matches!(document.get("schemaVersion"), Some(Value::Number(1))) {
        return Some(Manifest::schema1(document.get("signatures").is_some()));
    }
    let media_type = own.unwrap_or(match is_index {
        true => MediaType::OCI_INDEX,
        false => MediaType::OCI_MANIFEST,
    });
    let shape = match is_index {
        true => ManifestKind::Index,
        false => ManifestKind::Image,
    };
    Some(Manifest {
        kind: kind(&media_type).unwrap_or(shape),
        media_type,
        config,
        layers,
        manifests,
        subject: document.get("subject").and_then(descriptor),
        artifact_type: document.text("artifactType").map(ToOwned::to_owned),
        annotations: document.strings("annotations"),
    })
}

fn list(document: &Value, key: &str) -> Vec<Descriptor> {
    match document.get(key) {
        Some(Value::List(items)) => items.iter().filter_map(descriptor).collect(),
        _ => Vec::new(),
    }
}

/// A descriptor; `None` for a value without a digest.
fn descriptor(value: &Value) -> Option<Descriptor> {
    Some(Descriptor {
        media_type: value
            .text("mediaType")
            .and_then(|text| MediaType::parse(text).ok()),
        digest: Digest::parse(value.text("digest")?).ok()?,
        size: match value.get("size") {
            Some(Value::Number(size)) => Some(*size),
            _ => None,
        },
        artifact_type: value.text("artifactType").map(ToOwned::to_owned),
        annotations: value.strings("annotations"),
        urls: match value.get("urls") {
            Some(Value::List(urls)) => urls
                .iter()
                .filter_map(Value::as_text)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        },
        platform: value.get("platform").map(|platform| Platform {
            architecture: platform.text("architecture").unwrap_or_default().to_owned(),
            os: platform.text("os").unwrap_or_default().to_owned(),
        }),
    })
}

/// A JSON value, with only the parts that are read later.
#[derive(Debug)]
enum Value {
    Text(String),
    Number(u64),
    List(Vec<Value>),
    /// Fields by name; the keys of annotations as written.
    Object(Vec<(String, Value)>),
    /// Any other value, `null` included.
    Other,
}

impl Value {
    /// A field of an object. `null` leaves a field as it was, as in Go.
    fn get(&self, name: &str) -> Option<&Value> {
        let Self::Object(fields) = self else {
            return None;
        };
        let mut found = fields.iter().rev().filter(|(key, _)| key == name);
        found
            .find(|(_, value)| !matches!(value, Self::Other))
            .map(|(_, value)| value)
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    fn strings(&self, name: &str) -> Option<std::collections::BTreeMap<String, String>> {
        let Self::Object(fields) = self.get(name)? else {
            return None;
        };
        let strings = fields
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_text()?.to_owned())));
        Some(strings.collect())
    }
}

/// The fields that are read at a level of the document; all others are skipped. The levels also limit the depth of reading.
#[derive(Debug, Clone, Copy)]
enum Level {
    Document,
    Descriptor,
    Platform,
    /// Every key is read, with values that are texts.
    Annotations,
    /// No field below is read.
    Leaf,
}

impl Level {
    /// The field for a key, and the level of its value.
    fn field(self, key: &str) -> Option<(&str, Self)> {
        let named = |names| fields::named(key, names);
        match self {
            Self::Document => match named(FIELDS) {
                Some(name @ ("config" | "layers" | "manifests" | "subject")) => {
                    Some((name, Self::Descriptor))
                }
                Some(name @ "annotations") => Some((name, Self::Annotations)),
                Some(name) => Some((name, Self::Leaf)),
                None => named(&["signatures"]).map(|name| (name, Self::Leaf)),
            },
            Self::Descriptor => match named(Descriptor::FIELDS)? {
                name @ "platform" => Some((name, Self::Platform)),
                name @ "annotations" => Some((name, Self::Annotations)),
                name => Some((name, Self::Leaf)),
            },
            Self::Platform => named(Platform::FIELDS).map(|name| (name, Self::Leaf)),
            Self::Annotations => Some((key, Self::Leaf)),
            Self::Leaf => None,
        }
    }
}

/// Reads a value at a level, inside at most this many lists.
struct Within(Level, u8);

impl<'de> DeserializeSeed<'de> for Within {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match self.0.field(&key) {
                Some((name, level)) => found.push((name.to_owned(), map.next_value_seed(Within(level, 1))?)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Some(lists) = self.1.checked_sub(1) else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Other);
        };
        let mut found = Vec::new();
        while let Some(item) = list.next_element_seed(Within(self.0, lists))? {
            found.push(item);
        }
        Ok(Value::List(found))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_breaks_a_rule_is_read_as_far_as_it_goes() {
        let digest = Digest::sha256(b"x");
        let stored =
            |text: &str| Manifest::of_stored(text.replace("{d}", &digest.to_string()).as_bytes()).unwrap();
        let image = stored(
            r#"{"schemaVersion":2,"config":{"digest":"{d}"},"layers":[{"digest":"{d}","size":-1},{}]}"#,
        );
        assert_eq!(
            (image.kind, &image.media_type),
            (ManifestKind::Image, &MediaType::OCI_MANIFEST)
        );
        assert_eq!((image.config.unwrap().digest, image.layers.len()), (digest, 1));
        let index = stored(r#"{"manifests":[],"manifests":[{"digest":"{d}"}],"subject":{"digest":"{d}"}}"#);
        assert_eq!(
            (index.kind, &index.media_type),
            (ManifestKind::Index, &MediaType::OCI_INDEX)
        );
        assert_eq!(
            (index.manifests[0].digest, index.subject.unwrap().digest),
            (digest, digest)
        );
        let other = stored(
            r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[],"annotations":{"a":"b","c":1}}"#,
        );
        assert_eq!(
            other.media_type.as_str(),
            "application/vnd.oci.artifact.manifest.v1+json"
        );
        assert_eq!(other.annotations.unwrap().len(), 1);
        let old = stored(r#"{"schemaVersion":1,"schemaVersion":1,"signatures":[]}"#);
        assert_eq!(old.media_type, MediaType::DOCKER_SCHEMA1_SIGNED);
    }

    #[test]
    fn a_key_that_is_a_field_to_go_is_one_here_and_the_last_of_several_counts() {
        let (one, other) = (Digest::sha256(b"one"), Digest::sha256(b"other"));
        let stored = |text: &str| {
            let text = text
                .replace("{1}", &one.to_string())
                .replace("{2}", &other.to_string());
            Manifest::of_stored(text.as_bytes()).unwrap()
        };
        let image = stored(
            r#"{"SchemaVersion":2,"MediaType":"application/vnd.docker.distribution.manifest.v2+json","Config":{"Digest":"{1}"},"layer\u017f":[{"digest":"{2}"}]}"#,
        );
        assert_eq!(image.media_type, MediaType::DOCKER_MANIFEST);
        assert_eq!(
            (image.config.unwrap().digest, image.layers[0].digest),
            (one, other)
        );
        let image = stored(r#"{"config":{"digest":"{1}"},"Config":{"digest":"{2}"},"CONFIG":null}"#);
        assert_eq!(image.config.unwrap().digest, other);
    }

    #[test]
    fn parts_that_nobody_reads_do_not_keep_the_others_from_being_read() {
        let digest = Digest::sha256(b"x");
        let deep = format!("{}{}", "[".repeat(300_000), "]".repeat(300_000));
        for odd in [deep.as_str(), "1e999", "-0"] {
            let text = r#"{"Config":{"digest":"{d}","x":ODD,"annotations":{"a":DEEP,"b":"c"}},"x":ODD,"layers":[DEEP]}"#;
            let text = text.replace("{d}", &digest.to_string());
            let text = text.replace("ODD", odd).replace("DEEP", &deep);
            let config = Manifest::of_stored(text.as_bytes()).unwrap().config.unwrap();
            assert_eq!(config.digest, digest);
            assert_eq!(config.annotations.unwrap().len(), 1);
        }
    }

    #[test]
    fn what_is_no_object_is_no_manifest() {
        for text in ["", "[]", "null", "{", "7"] {
            assert!(Manifest::of_stored(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_json_panics_and_whatever_is_right_is_read_the_same_way(value in "\\{(\"(schemaVersion|mediaType|config|layers|manifests|subject|annotations)\":(1|2|null|\\[\\]|\\{\\}|\"x\"|\\[\\{\\}\\]),?){0,5}\\}") {
            let stored = Manifest::of_stored(value.as_bytes());
            if let Ok(right) = Manifest::parse(value.as_bytes(), None) {
                prop_assert_eq!(stored.unwrap(), right);
            }
        }
    }
}
