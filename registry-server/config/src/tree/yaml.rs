//! A tree to YAML text: block style, two spaces, keys in their order.

use std::fmt::Write;

use super::node::{Node, Value, truth};

/// How many characters a key may have that stands alone in front of its colon (YAML 1.2.2, section 7.4.2).
const IMPLICIT_KEY_MAX: usize = 1024;

/// The text of a tree; reads back as the same tree.
pub(super) fn write(root: &Node) -> String {
    let mut out = String::new();
    match &root.value {
        Value::Map(entries) if !entries.is_empty() => map(&mut out, entries, 0),
        Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
            block(&mut out, root, 0);
            out = out.trim_start().to_owned();
        }
    }
    out
}

fn map(out: &mut String, entries: &[(String, Node)], indent: usize) {
    for (at, (key, node)) in entries.iter().enumerate() {
        // The first key of a section in a list stands behind the dash.
        if at > 0 || !out.ends_with("- ") {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        let mut text = String::new();
        scalar(&mut text, key, !is_plain(key) || truth(key).is_some());
        // A longer one is only found to be a key when it says so first.
        if text.chars().count() > IMPLICIT_KEY_MAX {
            out.push_str("? ");
            out.push_str(&text);
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
        } else {
            out.push_str(&text);
        }
        out.push(':');
        block(out, node, indent);
    }
}

/// Writes the text behind a colon or a dash, line end included.
fn block(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        Value::Null => out.push('\n'),
        Value::Scalar { text, quoted } => {
            out.push(' ');
            scalar(out, text, !is_plain(text) || (*quoted && is_special(text)));
            out.push('\n');
        }
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(items) => {
            out.push('\n');
            for item in items {
                out.extend(std::iter::repeat_n(' ', indent + 2));
                match &item.value {
                    Value::Map(entries) if !entries.is_empty() => {
                        out.push_str("- ");
                        map(out, entries, indent + 4);
                    }
                    Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                        out.push('-');
                        block(out, item, indent + 2);
                    }
                }
            }
        }
        Value::Map(entries) => {
            out.push('\n');
            map(out, entries, indent + 2);
        }
    }
}

fn scalar(out: &mut String, text: &str, quote: bool) {
    if !quote {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii() && !c.is_ascii_control() || c.is_alphanumeric() => out.push(c),
            // Writing to a String cannot fail.
            c => drop(write!(out, "\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
}

/// Whether the text may stand without quotes. Cautious: quotes are never wrong.
fn is_plain(text: &str) -> bool {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_')
        || (text.starts_with(':') && text.len() > 1 && !text.contains(' '));
    starts_well
        && !text.ends_with(':')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_.:-+@=".contains(c))
        && !matches!(text, "null" | "Null" | "NULL")
}

/// Whether another reader could take the plain text for something else than a text.
fn is_special(text: &str) -> bool {
    truth(text).is_some()
        || text.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+')
        || matches!(text, "null" | "Null" | "NULL" | "~" | "")
}
