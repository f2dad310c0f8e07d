//! Keys that keep a registry closed or its data safe, and misspelt forms of their names.
//!
//! Distribution ignores every unknown key, and so does this server, with a warning. There are three exceptions: a
//! misspelt key of [`GUARDED`], such a key in a wrong section, and a variable in small letters that names one. To ignore
//! it would allow something that its author wanted to forbid, so the start is refused (decision record 0013).
//! Start at [`check`] for files, at [`variable`] for the environment.

use crate::keys::{Schema, schema};
use crate::tree::{Node, Origin, Value};
use crate::{Error, Warning};

/// The keys (with all keys below them) and the consequence of going on without them.
const GUARDED: &[(&str, &str)] = &[
    ("auth", "everybody is let in"),
    ("http.addr", "every address of the machine is served"),
    ("http.limits", "clients may take what they may by default"),
    ("http.trustedproxies", "anybody's forwarding headers are trusted"),
    ("http.tls", "connections are not encrypted"),
    ("http.tls.clientcas", "no client certificate is asked for"),
    (
        "http.tls.clientauth",
        "client certificates are asked for as by default",
    ),
    ("http.tls.minimumtls", "older versions of TLS are spoken"),
    (
        "storage.maintenance",
        "the store is written to, and abandoned uploads are removed",
    ),
    ("storage.maintenance.readonly", "the store is written to"),
    (
        "storage.maintenance.uploadpurging",
        "abandoned uploads are removed as by default",
    ),
    (
        "storage.maintenance.owner",
        "another registry may write to the same store",
    ),
    ("storage.redirect", "clients are sent to the store itself"),
    ("storage.filesystem.rootdirectory", "data lies in another folder"),
    ("storage.s3.rootdirectory", "data lies in another folder"),
    ("storage.s3.encrypt", "objects are not encrypted as asked"),
    ("storage.s3.keyid", "objects are not encrypted as asked"),
    ("storage.azure.rootdirectory", "data lies in another folder"),
    ("storage.gcs.rootdirectory", "data lies in another folder"),
    ("validation", "manifests are checked as by default"),
    ("policy", "repositories may hold anything"),
    ("redis.tls", "what is said to Redis is not encrypted"),
];

/// Names that mean the same key in every section, and the path of that key.
const NAMED: &[(&str, &str)] = &[
    ("auth", "auth"),
    ("htpasswd", "auth.htpasswd"),
    ("tls", "http.tls"),
    ("clientcas", "http.tls.clientcas"),
    ("clientauth", "http.tls.clientauth"),
    ("minimumtls", "http.tls.minimumtls"),
    ("trustedproxies", "http.trustedproxies"),
    ("maintenance", "storage.maintenance"),
    ("readonly", "storage.maintenance.readonly"),
    ("uploadpurging", "storage.maintenance.uploadpurging"),
    ("validation", "validation"),
];

/// Finds misspelt guarded keys, and warns of guarded keys that are empty.
pub(crate) fn check(root: &Node, warnings: &mut Vec<Warning>) -> Vec<Error> {
    let mut walk = Walk {
        root,
        warnings,
        errors: Vec::new(),
    };
    walk.section(root, schema(), "");
    walk.errors
}

struct Walk<'a> {
    root: &'a Node,
    warnings: &'a mut Vec<Warning>,
    errors: Vec<Error>,
}

impl Walk<'_> {
    fn section(&mut self, node: &Node, schema: &Schema, path: &str) {
        match &node.value {
            Value::Null | Value::Scalar { .. } => {}
            Value::List(items) => {
                if let Some(item) = &schema.item {
                    items.iter().for_each(|node| self.section(node, item, path));
                }
            }
            Value::Map(entries) => {
                for (name, child) in entries {
                    let path = under(path, name);
                    match schema.member(name) {
                        Some(member) => self.known(child, member, &path),
                        None if is_empty(child) => {}
                        None => self.unknown(name, child, node, schema, &path),
                    }
                }
            }
        }
    }

    fn known(&mut self, node: &Node, schema: &Schema, path: &str) {
        // A member of `auth` is a choice, empty or not.
        let chosen = path.starts_with("auth.") && matches!(node.value, Value::Map(_));
        if is_empty(node) && !chosen && !matches!(node.origin, Origin::Program) {
            if let Some(without) = guard(path) {
                self.warnings.push(Warning::Empty {
                    path: path.to_owned(),
                    origin: node.origin.clone(),
                    without,
                });
            }
            return;
        }
        self.section(node, schema, path);
    }

    fn unknown(&mut self, name: &str, child: &Node, section: &Node, schema: &Schema, path: &str) {
        let parent = path[..path.len() - name.len()].trim_end_matches('.');
        // Members of `auth` are checked elsewhere: each is a choice, and there can be only one.
        if parent == "auth" {
            return;
        }
        for (member, below) in &schema.members {
            let distance = distance(name, member);
            // A key that is also there under its right name is not lost. Two spellings of one name contradict each other.
            let there = section.get(member).is_some_and(|node| !is_empty(node));
            if distance > 1 || (distance == 1 && there) {
                continue;
            }
            let meant = under(parent, member);
            if let Some(without) = lost(child, below, &meant) {
                self.refuse(path, child, meant, without);
                return;
            }
        }
        let Some((_, meant)) = NAMED.iter().find(|(known, _)| distance(name, known) == 0) else {
            return;
        };
        let there = self
            .root
            .find(meant.split('.'))
            .is_some_and(|node| !is_empty(node));
        if let (false, Some(without)) = (there, guard(meant)) {
            self.refuse(path, child, (*meant).to_owned(), without);
        }
    }

    fn refuse(&mut self, path: &str, node: &Node, meant: String, without: &'static str) {
        self.errors.push(Error::Misspelt {
            path: path.to_owned(),
            origin: node.origin.clone(),
            meant,
            without,
        });
    }
}

/// The guarded key that a variable without a known key may have been meant for; the pieces are in lower case.
pub(crate) fn variable(pieces: &[String]) -> Option<(String, &'static str)> {
    meant_by(pieces, schema(), "", false)
}

fn meant_by(
    pieces: &[String],
    schema: &Schema,
    path: &str,
    corrected: bool,
) -> Option<(String, &'static str)> {
    let here = || guard(path).map(|without| (path.to_owned(), without));
    if pieces.is_empty() {
        return here();
    }
    for used in (1..=near(pieces, schema)).rev() {
        let name = pieces[..used].join("_");
        for (member, below) in &schema.members {
            let corrected = corrected || name != *member;
            if distance(&name, member) <= 1
                && let Some(found) = meant_by(&pieces[used..], below, &under(path, member), corrected)
            {
                return Some(found);
            }
        }
    }
    // A variable about authentication must never be ignored.
    let who = path == "auth" || path.starts_with("auth.");
    if corrected || who { here() } else { None }
}

/// How many of the first pieces can be near the name of a member. A name that has two letters more than every member is near
/// none, and comparing each beginning of a long variable with each member would take minutes.
fn near(pieces: &[String], schema: &Schema) -> usize {
    let longest = schema.members.keys().map(|member| member.len()).max();
    let letters = pieces.iter().scan(0, |letters, piece| {
        *letters += piece.chars().filter(|letter| letter.is_alphanumeric()).count();
        Some(*letters)
    });
    letters
        .take_while(|letters| *letters <= longest.unwrap_or_default() + 1)
        .count()
}

/// The consequence of going on without the key at a path, if it is a guarded key.
pub(crate) fn guard(path: &str) -> Option<&'static str> {
    GUARDED
        .iter()
        .filter(|(guarded, _)| {
            path.strip_prefix(guarded)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .max_by_key(|(guarded, _)| guarded.len())
        .map(|(_, without)| *without)
}

/// Whether an empty variable leaves the value at a path as it is. An empty folder means its default.
pub(crate) fn keeps_out(path: &str) -> bool {
    guard(path).is_some() && !path.ends_with(".rootdirectory")
}

/// The consequence of ignoring this value, which was meant for the key at `path`.
fn lost(node: &Node, schema: &Schema, path: &str) -> Option<&'static str> {
    if is_empty(node) {
        return None;
    }
    if let Some(without) = guard(path) {
        return Some(without);
    }
    let Value::Map(entries) = &node.value else {
        return None;
    };
    entries.iter().find_map(|(name, child)| {
        schema
            .members
            .iter()
            .filter(|(member, _)| distance(name, member) <= 1)
            .find_map(|(member, below)| lost(child, below, &under(path, member)))
    })
}

/// Whether a value is empty.
pub(crate) fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar { text, .. } => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

fn under(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    }
}

/// How far a written name is from a known one: 0 when only case, hyphens and the like differ, 1 when one letter is
/// wrong, missing, too much or changed places with its neighbour, 2 for everything else.
fn distance(written: &str, known: &str) -> u8 {
    let fold = |text: &str| -> Vec<char> {
        text.chars()
            .filter(|letter| letter.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let (written, known) = (fold(written), fold(known));
    if written == known {
        return 0;
    }
    if written.len().abs_diff(known.len()) > 1 {
        return 2;
    }
    let same = written.iter().zip(&known).take_while(|(a, b)| a == b).count();
    let (written, known) = (&written[same..], &known[same..]);
    let one = match (written, known) {
        ([a, b, rest @ ..], [c, d, other @ ..]) if a == d && b == c && rest == other => true,
        ([_, rest @ ..], [_, other @ ..]) if rest == other => true,
        ([_, rest @ ..], other) if rest == other => true,
        (rest, [_, other @ ..]) => rest == other,
        _ => false,
    };
    if one { 1 } else { 2 }
}

#[cfg(test)]
mod tests;
