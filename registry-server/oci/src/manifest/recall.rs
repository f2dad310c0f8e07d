//! Reading what another registry accepted: descriptors without a type or a size, repeated keys (the last counts, as in
//! Go), types nobody knows. Bytes are served as they are; this only finds what a registry must know of them.

use serde_json::{Map, Value};

use super::{Manifest, ManifestKind, kind};
use crate::{Descriptor, Digest, MediaType};

/// What can be told of a document; nothing when it is no JSON object.
pub(super) fn recall(bytes: &[u8]) -> Option<Manifest> {
    let Ok(Value::Object(document)) = serde_json::from_slice(bytes) else {
        return None;
    };
    let config = document.get("config").and_then(descriptor);
    let (layers, manifests) = (list(&document, "layers"), list(&document, "manifests"));
    let own = document.get("mediaType").and_then(Value::as_str);
    let own = own.and_then(|own| MediaType::parse(own).ok());
    let is_index = document.get("manifests").is_some_and(Value::is_array) && config.is_none();
    if document.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return Some(Manifest::schema1(document.contains_key("signatures")));
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
        artifact_type: text(&document, "artifactType"),
        annotations: strings(&document, "annotations"),
    })
}

fn list(document: &Map<String, Value>, key: &str) -> Vec<Descriptor> {
    let items = document.get(key).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(descriptor).collect()
}

/// A descriptor is what has a digest.
fn descriptor(value: &Value) -> Option<Descriptor> {
    let fields = value.as_object()?;
    let media_type = text(fields, "mediaType").and_then(|text| MediaType::parse(&text).ok());
    Some(Descriptor {
        media_type: media_type.unwrap_or(MediaType::OCTET_STREAM),
        digest: Digest::parse(fields.get("digest")?.as_str()?).ok()?,
        size: fields.get("size").and_then(Value::as_u64).unwrap_or_default(),
        artifact_type: text(fields, "artifactType"),
        annotations: strings(fields, "annotations"),
        urls: Vec::new(),
        platform: fields
            .get("platform")
            .and_then(|platform| serde_json::from_value(platform.clone()).ok()),
    })
}

fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key)?.as_str().map(ToOwned::to_owned)
}

fn strings(fields: &Map<String, Value>, key: &str) -> Option<std::collections::BTreeMap<String, String>> {
    let found = fields.get(key)?.as_object()?.iter();
    Some(
        found
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
    )
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
