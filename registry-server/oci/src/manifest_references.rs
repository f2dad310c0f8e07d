//! The content that a stored document refers to, even when the document is malformed.
//!
//! A garbage collection must not remove content that any reader of a document could find in it. [`crate::Manifest`] checks
//! whether a document is valid. [`ManifestReferences`] reads references alone, so it accepts repeated keys (all of them
//! count), keys in the wrong case (Go reads them), descriptors without a size, schema 1 and unknown types.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{Digest, Error, MediaType, fields};

/// The digests that a stored document refers to, in the order of the document.
///
/// ```
/// use registry_oci::{Digest, ManifestReferences};
///
/// let layer = Digest::sha256(b"layer");
/// let document = format!(r#"{{"LAYERS":[{{"digest":"{layer}"}}]}}"#);
/// assert_eq!(ManifestReferences::read(document.as_bytes())?.content, [layer]);
/// # Ok::<(), registry_oci::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestReferences {
    /// Content that is kept with the document: config, layers, the layers of schema 1, the entries of an index. In a
    /// document of an unknown type, every digest.
    pub content: Vec<Digest>,
    /// Its subject, which is not kept with it.
    pub subjects: Vec<Digest>,
}

impl ManifestReferences {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Error::InvalidManifest`] when it is no JSON object: then its references are unknown.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        // Bytes that are no UTF-8 cannot be part of a digest. A strict reader finds nothing in such a document, a lenient one
        // finds the rest.
        let text = String::from_utf8_lossy(bytes);
        Self::of_json(&text).or_else(|error| {
            // A document that is served may hold parts that do not parse, such as a huge number or a list too deep. They are
            // skipped.
            match crate::Manifest::parse(bytes, None) {
                Ok(manifest) => Ok(Self::of_manifest(&manifest)),
                Err(_) => Self::anywhere(&text).ok_or_else(|| Error::manifest(error.to_string())),
            }
        })
    }

    fn of_manifest(manifest: &crate::Manifest) -> Self {
        Self {
            content: manifest.references().map(|content| content.digest).collect(),
            subjects: manifest.subject.iter().map(|subject| subject.digest).collect(),
        }
    }

    /// Every digest of a JSON object that cannot be parsed further, as content and as subject.
    fn anywhere(text: &str) -> Option<Self> {
        let Members {} = serde_json::from_str(text)
            .ok()
            .filter(|_| text.trim_start().starts_with('{'))?;
        let content: Vec<Digest> = fields::strings(text)
            .filter_map(|string| Digest::parse(&string).ok())
            .collect();
        let subjects = content.clone();
        Some(Self { content, subjects })
    }

    fn of_json(text: &str) -> Result<Self, serde_json::Error> {
        let mut found = Found::default();
        let mut document = serde_json::Deserializer::from_str(text);
        Document(&mut found).deserialize(&mut document)?;
        document.end()?;
        let Found {
            mut content,
            subjects,
            elsewhere,
            unknown,
        } = found;
        if unknown {
            content.extend(elsewhere);
        }
        Ok(Self { content, subjects })
    }
}

/// A JSON object, whatever it holds.
#[derive(Deserialize)]
struct Members {}

#[derive(Default)]
struct Found {
    content: Vec<Digest>,
    subjects: Vec<Digest>,
    /// Digests where no known type has a reference.
    elsewhere: Vec<Digest>,
    /// Whether the document has a media type that this registry does not know.
    unknown: bool,
}

/// The fields that hold references, and the field that tells the document's type.
const FIELDS: &[&str] = &[
    "mediaType",
    "subject",
    "config",
    "layers",
    "manifests",
    "fsLayers",
];

/// Where a value stands.
#[derive(Clone, Copy)]
enum Section {
    Content,
    Subject,
    Elsewhere,
}

/// The whole document.
struct Document<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            // A key counts as a field if any reader takes it for that field.
            let section = match fields::named(&key, FIELDS) {
                Some("subject") => Section::Subject,
                Some("mediaType") => {
                    self.0.unknown |= !map.next_value::<Kind>()?.0;
                    continue;
                }
                Some(_) => Section::Content,
                None => Section::Elsewhere,
            };
            let found = &mut *self.0;
            map.next_value_seed(Value {
                found,
                section,
                named: false,
            })?;
        }
        Ok(())
    }
}

/// Whether a `mediaType` is one whose references are known.
struct Kind(bool);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Other(IgnoredAny),
        }
        let known = match Any::deserialize(deserializer)? {
            Any::Text(text) => MediaType::parse(&text).is_ok_and(|media_type| {
                [
                    MediaType::OCI_MANIFEST,
                    MediaType::OCI_INDEX,
                    MediaType::DOCKER_MANIFEST,
                    MediaType::DOCKER_LIST,
                    MediaType::DOCKER_SCHEMA1,
                    MediaType::DOCKER_SCHEMA1_SIGNED,
                ]
                .contains(&media_type)
            }),
            Any::Other(IgnoredAny) => false,
        };
        Ok(Self(known))
    }
}

/// A value below a top-level key.
struct Value<'a> {
    found: &'a mut Found,
    section: Section,
    /// Whether its key is `digest` or `blobSum`.
    named: bool,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Value {
                found: &mut *self.found,
                section: self.section,
                named: fields::named(&key, &["digest", "blobSum"]).is_some(),
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(()) = list.next_element_seed(Value {
            found: &mut *self.found,
            section: self.section,
            named: self.named,
        })? {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if let Ok(digest) = Digest::parse(text) {
            match (self.section, self.named) {
                (Section::Content, true) => self.found.content.push(digest),
                (Section::Subject, true) => self.found.subjects.push(digest),
                (Section::Content | Section::Subject | Section::Elsewhere, _) => {
                    self.found.elsewhere.push(digest);
                }
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    #[track_caller]
    fn check(document: &str, content: &[&str], subjects: &[&str]) {
        // `{a}` stands for the digest of "a".
        let mut text = document.to_owned();
        for name in ["a", "b", "c", "d"] {
            text = text.replace(&format!("{{{name}}}"), &digest(name).to_string());
        }
        let found = ManifestReferences::read(text.as_bytes()).unwrap();
        let digests = |names: &[&str]| names.iter().map(|name| digest(name)).collect::<Vec<_>>();
        assert_eq!(
            (found.content, found.subjects),
            (digests(content), digests(subjects)),
            "{document}"
        );
    }

    #[test]
    fn every_kind_of_document_mentions_what_it_refers_to() {
        check(
            r#"{"schemaVersion":2,"config":{"digest":"{a}"},"layers":[{"digest":"{b}","size":-1},{"digest":"{c}"}]}"#,
            &["a", "b", "c"],
            &[],
        );
        check(
            r#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"{a}"}],"subject":{"digest":"{d}"}}"#,
            &["a"],
            &["d"],
        );
        check(
            r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"{a}"},{"blobSum":"{b}"}],"history":[{"v1Compatibility":"{}"}]}"#,
            &["a", "b"],
            &[],
        );
    }

    #[test]
    fn what_go_reads_counts_and_so_does_each_of_repeated_keys() {
        check(
            r#"{"Config":{"Digest":"{a}","digest":"{b}"},"layers":null,"layers":[{"digest":"{c}"}],"LAYERS":[{"digest":"{d}"}]}"#,
            &["a", "b", "c", "d"],
            &[],
        );
    }

    #[test]
    fn what_unicode_folding_makes_a_field_counts_as_well() {
        check(
            r#"{"layers":[{"digest":"{a}","Dige\u017ft":"{b}"}],"layer\u017f":[{"d\u0131gest":"{c}"}],"\u017fUBJECT":{"digest":"{d}"}}"#,
            &["a", "b", "c"],
            &["d"],
        );
    }

    #[test]
    fn a_document_too_deep_to_be_taken_apart_mentions_every_digest_in_it() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let text = r#"{"Layers":[{"digest":"{a}","size":1}],"x":DEEP,"y":{"z":["{b}"]}}"#;
        check(&text.replace("DEEP", &deep), &["a", "b"], &["a", "b"]);
    }

    #[test]
    fn annotations_mention_nothing_in_a_known_type_and_everything_in_an_unknown_one() {
        let fields = r#""blobs":[{"digest":"{a}"}],"annotations":{"base":"{b}"},"subject":{"digest":"{c}"}}"#;
        check(&format!("{{{fields}"), &[], &["c"]);
        let unknown = "application/vnd.oci.artifact.manifest.v1+json";
        check(
            &format!(r#"{{"mediaType":"{unknown}",{fields}"#),
            &["a", "b"],
            &["c"],
        );
        check(&format!(r#"{{"mediaType":7,{fields}"#), &["a", "b"], &["c"]);
    }

    #[test]
    fn what_is_no_json_object_says_nothing_about_what_it_mentions() {
        for text in ["", "{", "[]", "null", r#"{"a":1} x"#, "\u{0}"] {
            assert!(ManifestReferences::read(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn parts_that_nobody_reads_do_not_hide_what_is_mentioned() {
        for odd in [
            "1e999".to_owned(),
            format!("{}{}", "[".repeat(500), "]".repeat(500)),
        ] {
            let text = r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"{a}","size":1},"layers":[],"x":ODD}"#;
            check(&text.replace("ODD", &odd), &["a"], &[]);
        }
        let text = format!(
            r#"{{"schemaVersion":2,"x":"?","subject":{{"mediaType":"a/b","digest":"{}","size":1}},"manifests":[]}}"#,
            digest("b")
        );
        let bytes: Vec<u8> = text
            .bytes()
            .map(|byte| if byte == b'?' { 0xff } else { byte })
            .collect();
        assert_eq!(ManifestReferences::read(&bytes).unwrap().subjects, [digest("b")]);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ManifestReferences::read(&bytes);
        }

        // A collection relies on this: every reference in a manifest that is served must be found.
        #[test]
        fn whatever_a_mutated_manifest_refers_to_is_mentioned(
            bytes in registry_mutation::mutated(crate::manifest::tests::SEEDS),
        ) {
            let mentions = ManifestReferences::read(&bytes);
            if let Ok(manifest) = crate::Manifest::parse(&bytes, None) {
                let mentions = mentions.expect("what is served can be read");
                for descriptor in manifest.config.iter().chain(&manifest.layers).chain(&manifest.manifests) {
                    prop_assert!(mentions.content.contains(&descriptor.digest), "{}", descriptor.digest);
                }
                if let Some(subject) = &manifest.subject {
                    prop_assert!(mentions.subjects.contains(&subject.digest), "{}", subject.digest);
                }
            }
        }

        #[test]
        fn whatever_a_manifest_refers_to_is_mentioned(layers in proptest::collection::vec(any::<u8>(), 0..5)) {
            let descriptor = |name: &[u8]| {
                let digest = Digest::sha256(name);
                (digest, format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1}}"#))
            };
            let (config, config_text) = descriptor(b"config");
            let (expected, texts): (Vec<_>, Vec<_>) = layers.iter().map(|byte| descriptor(&[*byte])).unzip();
            let text = format!(r#"{{"schemaVersion":2,"config":{config_text},"layers":[{}]}}"#, texts.join(","));
            let manifest = crate::Manifest::parse(text.as_bytes(), None).unwrap();
            let of_manifest: Vec<_> = manifest.config.iter().chain(&manifest.layers).map(|d| d.digest).collect();
            let found = ManifestReferences::read(text.as_bytes()).unwrap();
            prop_assert_eq!(&found.content, &of_manifest);
            prop_assert_eq!(found.content, [vec![config], expected].concat());
        }
    }
}
