//! Compares two answers field by field.
//!
//! Guarantees: every header, the status, the version, interim answers and every byte of the body belong to a field. A
//! field that only one answer has is a difference. Start at [`differences`].

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::normalize::{AnswerContext, normalized};
use crate::raw_http::Outcome;

/// The value of a field that an answer does not have.
pub(super) const ABSENT: &str = "-";
/// Longer bodies are shown by length and digest.
const SHOWN: usize = 600;

/// One field with two values, escaped so that each is one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) theirs: String,
    pub(super) ours: String,
}

/// The fields of an answer. The parts of an error document are fields of their own, and the text around them is
/// another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    flat: BTreeMap<String, String>,
    body: String,
    errors: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow)]
    errors: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    code: &'a RawValue,
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

impl Fields {
    pub(super) fn of(outcome: &Outcome, context: &AnswerContext<'_>) -> Self {
        let mut fields = Self::default();
        let mut add = |field: String, value: &str| {
            let value = escape(&normalized(&field, value, context));
            // A header that is there twice gives two fields.
            let mut number = 1;
            let mut name = field.clone();
            while fields.flat.contains_key(&name) {
                number += 1;
                name = format!("{field} #{number}");
            }
            fields.flat.insert(name, value);
        };
        let answer = match outcome {
            Outcome::Closed => {
                add("status".to_owned(), "connection closed");
                return fields;
            }
            Outcome::Answer(answer) => answer,
        };
        add("status".to_owned(), &answer.status);
        add("version".to_owned(), &answer.version);
        if !answer.interim.is_empty() {
            add("interim".to_owned(), &answer.interim.join(" "));
        }
        if answer.is_cut {
            add("end".to_owned(), "the body is shorter than announced");
        }
        for (name, value) in &answer.headers {
            add(format!("header {name}"), value);
        }
        fields.body = match std::str::from_utf8(&answer.body) {
            Ok(text) if text.len() <= SHOWN => escape(&normalized("body", text, context)),
            _ => {
                let digest = Sha256::digest(&answer.body);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{} bytes, sha256:{hex}", answer.body.len())
            }
        };
        fields.errors = std::str::from_utf8(&answer.body)
            .ok()
            .and_then(|text| errors(text, context));
        fields
    }
}

fn errors(text: &str, context: &AnswerContext<'_>) -> Option<BTreeMap<String, String>> {
    let document: Document<'_> = serde_json::from_str(text).ok()?;
    let mut fields = BTreeMap::new();
    let mut frame = text.to_owned();
    for (index, entry) in document.errors.iter().enumerate() {
        let number = if index == 0 {
            String::new()
        } else {
            format!(" #{}", index + 1)
        };
        let parts = [
            ("code", Some(entry.code)),
            ("message", Some(entry.message)),
            ("detail", entry.detail),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                let field = format!("body {name}{number}");
                frame = frame.replacen(&format!("\"{name}\":{}", value.get()), &format!("<{name}>"), 1);
                fields.insert(field.clone(), escape(&normalized(&field, value.get(), context)));
            }
        }
    }
    // The field of the detail itself tells whether there is one.
    fields.insert("body around".to_owned(), escape(&frame.replace(",<detail>", "")));
    Some(fields)
}

/// The differing fields, and how many fields were compared.
pub(super) fn differences(theirs: &Fields, ours: &Fields) -> (Vec<Difference>, usize) {
    let mut found = Vec::new();
    let mut compared = compare(&theirs.flat, &ours.flat, &mut found);
    match (&theirs.errors, &ours.errors) {
        (Some(theirs), Some(ours)) => compared += compare(theirs, ours, &mut found),
        // One body is an error document and the other is not: the bodies are compared as a whole.
        _ => {
            compared += 1;
            if theirs.body != ours.body {
                found.push(Difference {
                    field: "body".to_owned(),
                    theirs: theirs.body.clone(),
                    ours: ours.body.clone(),
                });
            }
        }
    }
    (found, compared)
}

fn compare(
    theirs: &BTreeMap<String, String>,
    ours: &BTreeMap<String, String>,
    found: &mut Vec<Difference>,
) -> usize {
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for name in &names {
        let value =
            |fields: &BTreeMap<String, String>| fields.get(*name).map_or(ABSENT, String::as_str).to_owned();
        let (theirs, ours) = (value(theirs), value(ours));
        if theirs != ours {
            found.push(Difference {
                field: (*name).clone(),
                theirs,
                ours,
            });
        }
    }
    names.len()
}

/// One line of printable ASCII, without the list's separator. An empty value and an absent one have forms that no
/// other value has.
pub(super) fn escape(text: &str) -> String {
    if text.is_empty() {
        return "\\empty".to_owned();
    }
    if text == ABSENT {
        return "\\x2d".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '|' => out.push_str("\\x7c"),
            ' '..='~' => out.push(c),
            other => out.extend(other.escape_unicode()),
        }
    }
    // Lines of the list are trimmed when they are read.
    if out.starts_with(' ') || out.ends_with(' ') {
        out = format!("\\\"{out}\\\"");
    }
    out
}
