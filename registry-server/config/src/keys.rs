//! The table of all keys of distribution 2.8 and 3.1 and of Berth's own keys, and whether this server supports them.
//!
//! One row per key, in `table`: its path, its upstream, the shape of its value, its support and a sentence. The overlay
//! finds keys in it, `check` checks values by it, `mask` finds secrets by it.
//! In a path, `[]` is the item of a list and `*` any key of a map.

mod key;
mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use key::{Key, Shape, Support, Upstream};
pub use table::KEYS;

/// The table as a tree, which is walked together with a configuration.
#[derive(Default)]
pub(crate) struct Schema {
    pub(crate) key: Option<&'static Key>,
    pub(crate) members: BTreeMap<&'static str, Schema>,
    /// Any other member.
    pub(crate) any: Option<Box<Schema>>,
    /// An item of the list.
    pub(crate) item: Option<Box<Schema>>,
}

/// The names in distribution's variables that differ from those in the file: variables use Go's field names.
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
    /// Whether the key has no keys below it: its value is one scalar, or is not checked.
    pub(crate) fn is_leaf(&self) -> bool {
        self.members.is_empty() && self.any.is_none() && self.item.is_none()
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> Option<&Schema> {
        self.members.get(name).or(self.any.as_deref())
    }
}

/// The name in the file for a member of a section that a variable names, both in lower case. An empty name means that
/// this piece of the variable's name is skipped.
pub(crate) fn go_name(section: &str, piece: &str) -> Option<&'static str> {
    GO_NAMES
        .iter()
        .find(|(path, go, _)| *path == section && *go == piece)
        .map(|(_, _, yaml)| *yaml)
}

#[cfg(test)]
mod tests;
