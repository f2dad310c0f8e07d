//! The values of a [`Tree`](super::Tree): scalars as written, lists and sections, each with its origin.

use std::sync::Arc;

use crate::secret::mask_password;

/// The largest text that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 32;
/// The most values, aliases counted each time they are used.
pub const MAX_NODES: usize = 100_000;

/// A value and its origin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// The text as written, without quotes and escapes. `quoted` says that it had quotes, so that `"null"` stays a text.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(Arc<str>),
    /// A default, or a program.
    Program,
}

impl Node {
    pub(crate) fn empty_map(origin: Origin) -> Self {
        Self {
            value: Value::Map(Vec::new()),
            origin,
        }
    }

    pub(super) fn from_json(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Scalar {
                text: value.to_string(),
                quoted: false,
            },
            Json::Number(value) => Value::Scalar {
                text: value.to_string(),
                quoted: false,
            },
            Json::String(text) => Value::Scalar { text, quoted: true },
            Json::Array(items) => Value::List(items.into_iter().map(Self::from_json).collect()),
            Json::Object(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, Self::from_json(value)))
                    .collect(),
            ),
        };
        Self {
            value,
            origin: Origin::Program,
        }
    }

    pub(crate) fn find<'a, 'p>(&'a self, path: impl IntoIterator<Item = &'p str>) -> Option<&'a Node> {
        path.into_iter().try_fold(self, |node, key| node.get(key))
    }

    /// The member of that name, when this is a section that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            Value::Null | Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries
                .iter_mut()
                .find(|(name, _)| name == key)
                .map(|(_, node)| node),
            Value::Null | Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// Takes the member of that name out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        match &mut self.value {
            Value::Map(entries) => {
                let at = entries.iter().position(|(name, _)| name == key)?;
                Some(entries.remove(at).1)
            }
            Value::Null | Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// The member of that name; an empty one is made when it is missing. A value that is no section is replaced by one.
    pub(crate) fn entry(&mut self, key: &str) -> &mut Node {
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else {
            unreachable!("made a section just above")
        };
        let at = match entries.iter().position(|(name, _)| name == key) {
            Some(at) => at,
            None => {
                entries.push((
                    key.to_owned(),
                    Node {
                        value: Value::Null,
                        origin: self.origin.clone(),
                    },
                ));
                entries.len() - 1
            }
        };
        &mut entries[at].1
    }

    /// The item of that index; empty ones are made where items are missing. A value that is no list is replaced by one.
    pub(super) fn item(&mut self, index: usize) -> &mut Node {
        if !matches!(self.value, Value::List(_)) {
            self.value = Value::List(Vec::new());
        }
        let Value::List(items) = &mut self.value else {
            unreachable!("made a list just above")
        };
        while items.len() <= index {
            items.push(Node {
                value: Value::Null,
                origin: self.origin.clone(),
            });
        }
        &mut items[index]
    }

    pub(super) fn merge(&mut self, over: &Node) {
        match (&mut self.value, &over.value) {
            (Value::Map(_), Value::Map(entries)) => {
                for (key, node) in entries {
                    self.entry(key).merge(node);
                }
            }
            _ => *self = over.clone(),
        }
    }

    /// Values in this tree, itself included.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.count()).sum(),
        }
    }

    /// Levels in this tree, itself included.
    pub(super) fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }

    /// Whether the value means "off", so that even an unsupported key may stay: null, an empty text, `false`,
    /// `disabled: true`, `enabled: false`, or a section or list of such values.
    pub(crate) fn is_off(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar { text, .. } => text.is_empty() || truth(text) == Some(false),
            Value::List(items) => items.iter().all(Node::is_off),
            Value::Map(entries) => {
                let says = |key: &str, wanted: bool| {
                    self.get(key).is_some_and(|node| match &node.value {
                        Value::Scalar { text, .. } => truth(text) == Some(wanted),
                        Value::Null | Value::List(_) | Value::Map(_) => false,
                    })
                };
                says("disabled", true)
                    || says("enabled", false)
                    || entries.iter().all(|(_, node)| node.is_off())
            }
        }
    }

    /// The value for a message: a text in backticks and shortened, or a word for anything else.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar { text, .. } => shown(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a section".to_owned(),
        }
    }
}

/// A text for a message: in backticks, on one line, shortened, without a URL's password.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let masked = mask_password(text);
    let text = masked.as_deref().unwrap_or(text);
    let mut line: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    // `escape_debug` escapes quotes, which is not needed between backticks.
    format!("`{}`", line.replace("\\\"", "\"").replace("\\'", "'"))
}

/// A text as a boolean, as YAML 1.1 and Go's yaml.v2 read it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}
