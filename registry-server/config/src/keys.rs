//! The table of every key of distribution 2.8 and 3.1 and of ours, and what this server does about it.
//!
//! One row per key, in `table`: its path, which line of distribution has it, the shape of its value, its kind and a
//! sentence. The overlay finds its way through it, `check` judges values by it, masking knows the secrets from it.
//! In a path, `[]` is the item of a list and `*` any key of a map.

mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::tree::{self, Node, Value};
pub use table::KEYS;

/// A key of `config.yml`.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// With dots: `http.tls.clientcas[]`, `log.fields.*`.
    pub path: &'static str,
    /// Who has it.
    pub upstream: Upstream,
    /// What its value looks like.
    pub shape: Shape,
    /// What the server does about it.
    pub support: Support,
    /// What it does, or why it has no effect, or why it is refused.
    pub note: &'static str,
}

/// Which line of distribution has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// 2.8 and 3.1.
    Both,
    /// 2.8 only.
    V2,
    /// 3.1 only.
    V3,
    /// Neither: a key of our own.
    Berth,
}

/// What the server does about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Does what it says.
    Implemented,
    /// Changes nothing here; one warning says why.
    Ignored,
    /// The start is refused: going on would lose data, open access or change who is served.
    Refused,
    /// As refused, until it is built.
    Planned,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Keys below, or nothing.
    Section,
    /// A text that must not be shown.
    Secret,
    /// Any text.
    Text,
    /// One of these, whatever the case.
    OneOf(&'static [&'static str]),
    /// `true`, `false`, `yes`, `no`, `on`, `off`.
    Bool,
    /// A whole number of at least this.
    Integer(i64),
    /// Go's notation.
    Duration,
    /// As a duration; `-1` and `-2` are Redis's words for no limit.
    Timeout,
    /// A network, `10.0.0.0/8`, or one address.
    Network,
    /// A regular expression.
    Pattern,
    /// Anything: nobody looks inside.
    Any,
}

/// The table as a tree, to walk beside a configuration.
#[derive(Default)]
pub(crate) struct Schema {
    pub(crate) key: Option<&'static Key>,
    pub(crate) members: BTreeMap<&'static str, Schema>,
    /// Any other member.
    pub(crate) any: Option<Box<Schema>>,
    /// An item of the list.
    pub(crate) item: Option<Box<Schema>>,
}

/// The names that distribution's variables use where they differ from the file's: it matches Go's field names.
const GO_NAMES: [(&str, &str, &str); 7] = [
    ("health", "filecheckers", "file"),
    ("health", "httpcheckers", "http"),
    ("health", "tcpcheckers", "tcp"),
    ("notifications", "eventconfig", "events"),
    ("log.hooks[]", "mailoptions", "options"),
    ("compatibility.schema1", "trustkey", "signingkeyfile"),
    // 3.0 wanted one more level here, which 3.1 still takes.
    ("redis", "options", ""),
];

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut root = Schema::default();
    for key in KEYS {
        let mut at = &mut root;
        for step in key.path.split('.') {
            let name = step.trim_end_matches("[]");
            at = match name {
                "*" => at.any.get_or_insert_default(),
                name => at.members.entry(name).or_default(),
            };
            if step.ends_with("[]") {
                at = at.item.get_or_insert_default();
            }
        }
        at.key = Some(key);
    }
    root
});

/// The whole table as a tree.
pub(crate) fn schema() -> &'static Schema {
    &SCHEMA
}

impl Schema {
    /// Whether nothing lies below: the value is one scalar, or is not looked into.
    pub(crate) fn is_leaf(&self) -> bool {
        self.members.is_empty() && self.any.is_none() && self.item.is_none()
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> Option<&Schema> {
        self.members.get(name).or(self.any.as_deref())
    }
}

/// The file's name for a section's member that a variable names, both in lower case. An empty name means that the
/// piece is to be skipped.
pub(crate) fn go_name(section: &str, piece: &str) -> Option<&'static str> {
    GO_NAMES
        .iter()
        .find(|(path, go, _)| *path == section && *go == piece)
        .map(|(_, _, yaml)| *yaml)
}

/// Masks every secret of a tree, by the table, and the password of every URL. Whatever lies under an unknown key is masked when its name sounds
/// like a secret's, because a misspelt `passwrod` is still one.
pub(crate) fn mask(root: &mut Node) {
    walk(root, Some(schema()));
}

fn walk(node: &mut Node, schema: Option<&Schema>) {
    if schema
        .and_then(|schema| schema.key)
        .is_some_and(|key| key.shape == Shape::Secret)
    {
        tree::mask(node);
        return;
    }
    match &mut node.value {
        Value::Null => {}
        Value::Scalar { text, .. } => {
            if let Some(masked) = tree::mask_password(text) {
                *text = masked;
            }
        }
        Value::List(items) => {
            let schema = schema.and_then(|schema| schema.item.as_deref());
            items.iter_mut().for_each(|item| walk(item, schema));
        }
        Value::Map(entries) => {
            for (name, node) in entries {
                let member = schema.and_then(|schema| schema.member(name));
                if member.is_none() && sounds_secret(name) {
                    tree::mask(node);
                } else {
                    walk(node, member);
                }
            }
        }
    }
}

/// Whether an unknown key's or a variable's name sounds as if its value were a secret.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["secret", "pass", "token", "key", "credential", "auth"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests;
