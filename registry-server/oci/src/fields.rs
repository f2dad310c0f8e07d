//! Reads a JSON object field by field, and refuses documents that different readers would read differently.
//!
//! JSON libraries do not agree about keys. Go's `encoding/json` matches fields without regard to case, by Unicode's
//! simple folding (`"Layers"` and `"layer\u017f"` are `layers`), and takes the last of two; others match exactly, and
//! some take the first. A document that uses this is two documents under one digest: a scanner reads harmless layers
//! and a runtime pulls others (the class of CVE-2021-41190).
//!
//! Guarantees: [`read`] refuses a key that only some readers take for a field, and a field that occurs twice. It skips keys
//! that no reader takes for a field, however deep their values are.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::quoted;

/// The letter that case-insensitive readers take this one for. Simple folding maps only the long s and the Kelvin sign to
/// ASCII; Java's `equalsIgnoreCase` adds the two other forms of i.
fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other.to_ascii_lowercase(),
    }
}

/// Whether a case-insensitive reader takes `key` for `name`.
pub(crate) fn is_alike(key: &str, name: &str) -> bool {
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// The one of `names` that some reader takes `key` for.
pub(crate) fn named(key: &str, names: &[&'static str]) -> Option<&'static str> {
    let exact = names.iter().find(|name| **name == key);
    exact
        .or_else(|| names.iter().find(|name| is_alike(key, name)))
        .copied()
}

/// Calls `field` for each field that is one of `names`; it reads the value.
///
/// # Errors
/// A key that differs from one of `names` only in case, a field that occurs twice, or an error of `field`.
pub(crate) fn read<'de, A: MapAccess<'de>>(
    mut map: A,
    names: &[&'static str],
    mut field: impl FnMut(&'static str, &mut A) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    let mut seen = Vec::with_capacity(names.len());
    while let Some(key) = map.next_key::<String>()? {
        let Some(name) = named(&key, names) else {
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        if name != key {
            return Err(A::Error::custom(format!(
                "key `{}` is `{name}` to readers that do not tell case",
                quoted(&key)
            )));
        }
        if seen.contains(&name) {
            return Err(A::Error::duplicate_field(name));
        }
        seen.push(name);
        field(name, &mut map)?;
    }
    Ok(())
}

/// A map of strings with free keys: case matters in them, and none may occur twice. `null` is an empty string, as in Go.
pub(crate) struct Strings(pub(crate) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = BTreeMap<String, String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut strings = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if strings.contains_key(&key) {
                        return Err(A::Error::custom(format!("key `{}` is there twice", quoted(&key))));
                    }
                    let value = map.next_value::<Option<String>>()?.unwrap_or_default();
                    strings.insert(key, value);
                }
                Ok(strings)
            }
        }
        deserializer.deserialize_map(Map).map(Self)
    }
}

/// The depth of nested lists and objects in a JSON text. An invalid text is counted in the same way.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    most
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// Every string of a JSON text, keys too, without a limit of depth.
pub(crate) fn strings(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find('"')?;
            let mut bytes = rest[start + 1..].bytes();
            skip_string(&mut bytes);
            let end = rest.len() - bytes.len();
            let string = serde_json::from_str(&rest[start..end]);
            rest = &rest[end..];
            if let Ok(string) = string {
                return Some(string);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_field_to_readers_without_regard_to_case_by_simple_folding() {
        for (key, name) in [
            ("Layers", "layers"),
            ("LAYERS", "layers"),
            ("layer\u{17f}", "layers"),
            ("mediatype", "mediaType"),
            ("d\u{131}gest", "digest"),
            ("S\u{130}ZE", "size"),
            ("\u{212a}ind", "kind"),
            ("OS.Version", "os.version"),
        ] {
            assert_eq!(named(key, &["other", name]), Some(name), "{key}");
        }
        for key in ["layer", "layerss", "layer\u{df}", "l\u{e4}yers", "", "layers "] {
            assert_eq!(named(key, &["layers"]), None, "{key}");
        }
    }

    #[test]
    fn depth_counts_what_is_open_at_once_and_nothing_in_strings() {
        for (text, expected) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{}],"b":[]}"#, 3),
            (r#"["[[[[", "\"[[[", {}]"#, 2),
            ("]]][[", 2),
            (r#"["\"#, 1),
        ] {
            assert_eq!(depth(text), expected, "{text}");
        }
        assert_eq!(depth(&"[".repeat(2_000_000)), 2_000_000);
    }

    #[test]
    fn strings_are_found_at_any_depth_and_unescaped() {
        let text = r#"{"a":["b\"c",{"\u0064":1}],"e\\":"f" "unended"#;
        let found: Vec<String> = strings(text).collect();
        assert_eq!(found, ["a", "b\"c", "d", "e\\", "f"]);
    }
}
