//! A configuration before it has types: a tree in which every scalar is still the text that was written.
//!
//! Why not a ready-made value type: `secret: 0123456`, `1.10` and `1e5` lose their text in every one of them, and the
//! environment is laid over the file before any key's type is asked (decision record 0001).
//! Guarantees: depth and size are bounded; keys of a section are unique and keep their order; aliases and `<<` are
//! resolved. Must not: know what a key means (that is `keys`) or which values are secret (that is `mask`).
//! Start at [`Tree`]; `node` holds its values, `parse` reads YAML, `yaml` writes it.

mod node;
mod parse;
mod yaml;

use crate::Error;

pub use node::{MAX_BYTES, MAX_DEPTH, MAX_NODES, Origin};
pub(crate) use node::{Node, Value, shown, truth};
pub(crate) use parse::variable_value;

/// A whole configuration. Its root is a section.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    pub(crate) root: Node,
}

impl Tree {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`Error::Syntax`] when it is no YAML, is too large or too deep, repeats a key or is not a section.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let root = parse::node(text, None)?;
        let line = match root.origin {
            Origin::Line(line) => line,
            Origin::Variable(_) | Origin::Program => 1,
        };
        match root.value {
            Value::Map(_) => Ok(Self { root }),
            Value::Null => Ok(Self {
                root: Node {
                    value: Value::Map(Vec::new()),
                    ..root
                },
            }),
            Value::Scalar { .. } | Value::List(_) => {
                let problem = "a configuration is a section of keys, `version: 0.1` among them".to_owned();
                Err(Error::Syntax {
                    line,
                    column: 1,
                    problem,
                })
            }
        }
    }

    /// The tree of a JSON document, as a program makes one.
    pub(crate) fn from_json(document: serde_json::Value) -> Self {
        Self {
            root: Node::from_json(document),
        }
    }

    /// Sets the text of the key at a path: `set("http.secret", …)`. Missing sections are made, and so are missing items of
    /// lists, which are given by index: `headers.authorization[0]`. A value at the path, or in the place of a section, is
    /// replaced.
    pub fn set(&mut self, path: &str, text: &str) {
        let mut node = &mut self.root;
        for step in path.split('.') {
            let (key, index) = key_and_index(step);
            node = node.entry(key);
            if let Some(index) = index {
                node = node.item(index);
            }
        }
        node.value = Value::Scalar {
            text: text.to_owned(),
            quoted: true,
        };
    }

    /// Lays another tree over this one: sections are merged key by key, everything else is replaced.
    pub fn merge(&mut self, over: &Tree) {
        self.root.merge(&over.root);
    }

    /// The text of the scalar at a path of plain keys, if there is one.
    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.root.find(path.split('.'))?.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The origin of the value at a path, or of the nearest section around it that has one. Items of lists are given by
    /// index: `health.file[0].interval`.
    pub fn origin(&self, path: &str) -> Origin {
        let mut node = &self.root;
        let mut nearest = Origin::Program;
        for step in path.split('.') {
            let (name, index) = key_and_index(step);
            let found = node.get(name).and_then(|node| match (&node.value, index) {
                (Value::List(items), Some(index)) => items.get(index),
                _ => Some(node),
            });
            let Some(found) = found else { break };
            node = found;
            nearest = node.origin.clone();
        }
        nearest
    }

    /// YAML text that reads back as this tree, **secrets included**: see [`Tree::masked`].
    pub fn to_yaml(&self) -> String {
        yaml::write(&self.root)
    }
}

/// A step of a path: a key, and the index of an item when the key holds a list.
fn key_and_index(step: &str) -> (&str, Option<usize>) {
    match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
        Some((name, index)) => (name, index.parse().ok()),
        None => (step, None),
    }
}

#[cfg(test)]
mod tests;
