//! Which content a stored document may refer to, whoever wrote it and however badly.
//!
//! A garbage collection must not remove what some reader of a document could find named in it. [`crate::Manifest`]
//! asks whether a document is right; this asks only what it mentions, so it takes repeated keys (all of them), keys
//! in the wrong case (Go reads them), descriptors without a size, schema 1 and types nobody knows.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{Digest, Error, MediaType, fields};

/// The digests a stored document mentions, in the order it does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestReferences {
    /// What is kept with it: config, layers, the layers of schema 1, the entries of an index; and every digest there
    /// is in a document of a type this registry does not know.
    pub content: Vec<Digest>,
    /// What it refers to as its subject, which it does not keep.
    pub subjects: Vec<Digest>,
}

impl ManifestReferences {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Error::InvalidManifest`] when it is no JSON object: then nobody knows what it mentions.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        // What is no UTF-8 cannot be part of a digest; a reader that minds it finds nothing, and one that does not the rest.
        let text = String::from_utf8_lossy(bytes);
        Self::of_json(&text).or_else(|error| {
            // What is served is read with its other parts passed over: a number that fits nowhere, a list too deep.
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

    /// Every digest of a JSON object that nobody can take apart, as either.
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
    /// Whether the document says a type this registry does not know.
    unknown: bool,
}

/// The fields below which references are, and what says how to read them.
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
            // Whatever any reader takes a key for: what either reading names is mentioned.
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
    /// Whether its key is one that names content.
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

        // What a collection must never get wrong: a reference that is served is a reference that is kept.
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
