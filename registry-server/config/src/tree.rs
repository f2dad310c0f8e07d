//! A configuration before it has types: a tree in which every scalar is still the text that was written.
//!
//! Why not a ready-made value type: `secret: 0123456`, `1.10` and `1e5` lose their text in every one of them, and the
//! environment is laid over the file before any key's type is asked (decision record 0001).
//! Guarantees: depth and size are bounded, keys of a section are unique and keep their order, aliases and `<<` are
//! already settled. Must not know what a key means; that is `keys`.
//! Start at [`Tree`]; `parse` reads YAML, `yaml` writes it.

mod parse;
mod yaml;

use std::sync::Arc;

use crate::{Config, Error, MASK, keys};

/// The largest text that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 32;
/// The most values, aliases counted each time they are used.
pub const MAX_NODES: usize = 100_000;

/// A whole configuration. Its root is a section.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    pub(crate) root: Node,
}

/// A value and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// As written, quotes and escapes undone. `quoted` remembers that it had quotes, so `"null"` stays a text.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(Arc<str>),
    /// Nobody wrote it: a default, or a program.
    Program,
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

    /// The tree of typed keys. Its secrets are masks: put the real ones in with [`Tree::set`].
    pub fn of(config: &Config) -> Self {
        // Serialising plain structs, maps with text keys and lists into a JSON value has no way to fail.
        let value = serde_json::to_value(config).unwrap_or_default();
        Self {
            root: Node::from_json(value),
        }
    }

    /// Sets the text of a key named by its path, sections on the way included: `set("http.secret", …)`.
    /// Whatever lay there or in the way is replaced.
    pub fn set(&mut self, path: &str, text: &str) {
        let mut node = &mut self.root;
        for key in path.split('.') {
            node = node.entry(key);
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

    /// The same tree with [`MASK`] in place of every secret, for people to read.
    pub fn masked(&self) -> Self {
        let mut tree = self.clone();
        keys::mask(&mut tree.root);
        tree
    }

    /// Where the value at a path comes from, items of lists by their index (`health.file[0].interval`): the value's own
    /// place, or that of the nearest section around it which somebody wrote.
    pub fn origin(&self, path: &str) -> Origin {
        let mut node = &self.root;
        let mut nearest = Origin::Program;
        for step in path.split('.') {
            let (name, index) = match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
                Some((name, index)) => (name, index.parse::<usize>().ok()),
                None => (step, None),
            };
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

/// Shows the masked tree, so that a stray `{:?}` reveals nothing.
impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked().to_yaml())
    }
}

impl Node {
    pub(crate) fn empty_map(origin: Origin) -> Self {
        Self {
            value: Value::Map(Vec::new()),
            origin,
        }
    }

    /// Reads the value of a variable as YAML, as distribution does: `true`, `[a, b]`, `{a: b}`.
    pub(crate) fn of_variable(name: &Arc<str>, text: &str) -> Result<Self, Error> {
        parse::node(text, Some(name))
    }

    fn from_json(value: serde_json::Value) -> Self {
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

    /// The member of that name, made (as nothing) when missing. Anything but a section is replaced by one.
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

    fn merge(&mut self, over: &Node) {
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
    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.count()).sum(),
        }
    }

    /// Levels in this tree, itself included.
    fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }

    /// Whether this says nothing or says "off", so that even a key that cannot be acted on may stay: nothing, an
    /// empty text, `false`, `disabled: true`, `enabled: false`, or a section or list of such values.
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

    /// The value as it may be shown in a message: in backticks, shortened, or words when it is not one text.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar { text, .. } => shown(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a section".to_owned(),
        }
    }
}

/// A URL's password gives way to the mask (RFC 3986, section 3.2.1). Anything else stays as it is.
pub(crate) fn mask_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (userinfo, host) = authority.rsplit_once('@')?;
    let (user, password) = userinfo.split_once(':')?;
    if password.is_empty() {
        return None;
    }
    let path = &rest[authority.len()..];
    Some(format!("{scheme}://{user}:{MASK}@{host}{path}"))
}

/// A text in backticks, on one line and not endless, without a URL's password.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let masked = mask_password(text);
    let text = masked.as_deref().unwrap_or(text);
    let mut line: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    // Quotes are escaped by `escape_debug`, which helps nobody between backticks.
    format!("`{}`", line.replace("\\\"", "\"").replace("\\'", "'"))
}

/// The truth of a text, as YAML 1.1 and with it Go's yaml.v2 reads it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

/// The text that stands for a secret.
pub(crate) fn mask(node: &mut Node) {
    match &mut node.value {
        Value::Null => {}
        Value::Scalar { text, quoted } => {
            if !text.is_empty() {
                MASK.clone_into(text);
                *quoted = true;
            }
        }
        Value::List(items) => items.iter_mut().for_each(mask),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| mask(node)),
    }
}

#[cfg(test)]
mod tests;
