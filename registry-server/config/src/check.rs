//! Checks a tree against the table of keys: unknown keys, shapes of values, support.
//!
//! It also brings the spellings that distribution allows into one form, so that `decode` needs to read only that form:
//! `storage: inmemory`, one text where a list is meant, `Level: INFO`, `loglevel`.
//! Start at [`check`].

use crate::cidr::Cidr;
use crate::keys::{Key, Schema, Shape, Support, schema};
use crate::tree::{Node, Tree, Value, shown, truth};
use crate::{Error, GoDuration, NotADuration, Warning, guarded};

/// The members of `storage` that are no drivers.
const RESERVED: [&str; 5] = ["delete", "redirect", "cache", "tag", "maintenance"];

/// Whether a member of `storage` is one of the drivers of the table.
pub(crate) fn is_driver(name: &str) -> bool {
    !RESERVED.contains(&name) && schema().members["storage"].members.contains_key(name)
}

/// Whether a section has an effect by its presence alone, even when it is empty: a driver, or a way to authenticate.
fn is_choice(path: &str) -> bool {
    path.strip_prefix("storage.").is_some_and(is_driver) || path.starts_with("auth.")
}

/// The names of all drivers.
pub(crate) fn drivers() -> impl Iterator<Item = &'static str> {
    schema().members["storage"]
        .members
        .keys()
        .copied()
        .filter(|name| is_driver(name))
}

/// `storage: inmemory` and `auth: htpasswd` are short for a section with one empty member; a member without a value
/// is an empty section.
pub(crate) fn open_union(path: &str, node: &mut Node) {
    if path != "storage" && path != "auth" {
        return;
    }
    if let Value::Scalar { text, .. } = &node.value
        && !text.is_empty()
    {
        node.value = Value::Map(vec![(text.clone(), Node::empty_map(node.origin.clone()))]);
    }
    if let Value::Map(entries) = &mut node.value {
        for (_, member) in entries {
            if matches!(member.value, Value::Null) {
                member.value = Value::Map(Vec::new());
            }
        }
    }
}

/// Checks the tree and brings it into the one form. It finds all errors, not only the first.
pub(crate) fn check(tree: &mut Tree, warnings: &mut Vec<Warning>) -> Vec<Error> {
    for path in ["storage", "auth"] {
        if let Some(node) = tree.root.get_mut(path) {
            open_union(path, node);
        }
    }
    // A configuration without `auth` is an open registry; `auth: none` is distribution's other way to write it.
    if let Some(auth) = tree.root.get_mut("auth")
        && auth.remove("none").is_some()
        && guarded::is_empty(auth)
    {
        tree.root.remove("auth");
    }
    if let Some(level) = tree.root.remove("loglevel") {
        let log = tree.root.entry("log").entry("level");
        if matches!(log.value, Value::Null) {
            *log = level;
        }
    }
    // Distribution's other name for the driver. Beside `s3` it is a second driver, and refused as one.
    if let Some(storage) = tree.root.get_mut("storage")
        && storage.get("s3").is_none()
        && let Some(bucket) = storage.remove("s3aws")
    {
        *storage.entry("s3") = bucket;
    }
    let mut judge = Judge {
        warnings,
        errors: Vec::new(),
        path: String::new(),
        quiet: false,
    };
    judge.node(&mut tree.root, schema());
    let mut errors = judge.errors;
    errors.extend(guarded::check(&tree.root, warnings));
    errors
}

struct Judge<'a> {
    warnings: &'a mut Vec<Warning>,
    errors: Vec<Error>,
    path: String,
    /// Inside a section that is switched off: keys without effect are not reported there.
    quiet: bool,
}

impl Judge<'_> {
    fn node(&mut self, node: &mut Node, schema: &Schema) {
        if let Some(key) = schema.key
            && !self.supported(node, key)
        {
            return;
        }
        if let Some(item) = &schema.item {
            self.list(node, item);
        } else if schema.is_leaf() {
            if let Some(key) = schema.key {
                self.leaf(node, key);
            }
        } else {
            self.section(node, schema);
        }
    }

    /// Reports a key that is not implemented. Gives whether its value is still to be checked.
    fn supported(&mut self, node: &Node, key: &'static Key) -> bool {
        let (path, origin) = (self.path.clone(), node.origin.clone());
        match key.support {
            Support::Implemented => true,
            Support::Refused | Support::Planned if node.is_off() && !is_choice(&path) => false,
            Support::Refused => {
                self.errors.push(Error::Refused {
                    path,
                    origin,
                    reason: key.note,
                });
                false
            }
            Support::Planned => {
                self.errors.push(Error::Planned {
                    path,
                    origin,
                    reason: key.note,
                });
                false
            }
            Support::Ignored => {
                // One warning per reason: four keys of one section are reported once.
                let known = self.warnings.iter().any(|warning| match warning {
                    Warning::NoEffect { reason, .. } => *reason == key.note,
                    Warning::UnknownKey { .. }
                    | Warning::UnknownVariable { .. }
                    | Warning::Incomplete { .. }
                    | Warning::Empty { .. }
                    | Warning::Guessable { .. }
                    | Warning::DriverReplaced { .. } => false,
                });
                if !node.is_off() && !known && !self.quiet {
                    self.warnings.push(Warning::NoEffect {
                        path,
                        origin,
                        reason: key.note,
                    });
                }
                true
            }
        }
    }

    fn section(&mut self, node: &mut Node, schema: &Schema) {
        let quiet = self.quiet;
        self.quiet |= node.is_off();
        match &mut node.value {
            Value::Null => {}
            Value::Map(entries) => {
                for (name, node) in entries {
                    let before = self.path.len();
                    if before > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(name);
                    match schema.member(name) {
                        Some(member) => self.node(node, member),
                        None => self.warnings.push(Warning::UnknownKey {
                            path: self.path.clone(),
                            origin: node.origin.clone(),
                        }),
                    }
                    self.path.truncate(before);
                }
            }
            Value::Scalar { .. } | Value::List(_) => {
                let members: Vec<String> = schema.members.keys().map(|name| format!("`{name}`")).collect();
                let allowed = match members.is_empty() {
                    true => "a section of names and values".to_owned(),
                    false => format!("a section with {}", members.join(", ")),
                };
                self.refuse(node, false, allowed);
            }
        }
        self.quiet = quiet;
    }

    fn list(&mut self, node: &mut Node, item: &Schema) {
        if let Value::Scalar { .. } = node.value {
            let only = Node {
                value: std::mem::replace(&mut node.value, Value::Null),
                origin: node.origin.clone(),
            };
            node.value = Value::List(vec![only]);
        }
        match &mut node.value {
            Value::Null => {}
            Value::List(items) => {
                for (index, node) in items.iter_mut().enumerate() {
                    let before = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.node(node, item);
                    self.path.truncate(before);
                }
            }
            Value::Map(_) | Value::Scalar { .. } => self.refuse(node, false, "a list".to_owned()),
        }
    }

    fn leaf(&mut self, node: &mut Node, key: &Key) {
        let secret = key.shape == Shape::Secret;
        let allowed = match (&mut node.value, key.shape) {
            (_, Shape::Any) | (Value::Null, _) => return,
            (Value::Map(_), Shape::Section) => return,
            (_, Shape::Section) => "a section of keys".to_owned(),
            (Value::Scalar { text, .. }, shape) => match scalar(text, shape) {
                Ok(()) => return,
                Err(allowed) => allowed,
            },
            (Value::List(_) | Value::Map(_), _) => "one value".to_owned(),
        };
        self.refuse(node, secret, allowed);
    }

    fn refuse(&mut self, node: &Node, secret: bool, allowed: String) {
        let value = match secret {
            true => "its value".to_owned(),
            false => node.shown(),
        };
        self.errors.push(Error::Value {
            path: self.path.clone(),
            origin: node.origin.clone(),
            value,
            allowed,
        });
    }
}

/// Checks one text, and lower-cases it where the case does not count. The error is the list of allowed values.
fn scalar(text: &mut String, shape: Shape) -> Result<(), String> {
    match shape {
        Shape::Section | Shape::Any | Shape::Text => Ok(()),
        // This is a printed, masked configuration.
        Shape::Secret if text == crate::MASK => {
            Err("the secret itself, not the mask that is printed for it".to_owned())
        }
        Shape::Secret => Ok(()),
        // Distribution takes an empty text for the default.
        Shape::OneOf(_) if text.is_empty() => Ok(()),
        Shape::OneOf(allowed) => {
            if let Some(one) = allowed.iter().find(|one| one.eq_ignore_ascii_case(text)) {
                *text = (*one).to_owned();
                return Ok(());
            }
            Err(allowed
                .iter()
                .map(|one| format!("`{one}`"))
                .collect::<Vec<_>>()
                .join(", "))
        }
        Shape::Bool => truth(text)
            .map(drop)
            .ok_or_else(|| "`true` or `false`".to_owned()),
        Shape::Integer(least) => match text.parse::<i64>() {
            Ok(number) if number >= least => Ok(()),
            _ if least == i64::MIN => Err("a whole number".to_owned()),
            _ => Err(format!("a whole number, {least} or more")),
        },
        Shape::Timeout if matches!(text.as_str(), "-1" | "-2") => {
            text.push_str("ns");
            Ok(())
        }
        Shape::Duration | Shape::Timeout => GoDuration::parse(text)
            .map(drop)
            .map_err(|_| NotADuration::allowed(text)),
        Shape::Pattern => regex::Regex::new(text)
            .map(drop)
            .map_err(|_| "a regular expression".to_owned()),
        Shape::Network => Cidr::parse(text)
            .map(drop)
            .ok_or_else(|| "a network such as `10.0.0.0/8` or `fd00::/8`, or one address".to_owned()),
    }
}

/// The error for a key of a decoded configuration, with the origin that the tree remembers.
pub(crate) fn value_error(tree: &Tree, path: &str, text: &str, allowed: &str) -> Error {
    Error::Value {
        path: path.to_owned(),
        origin: tree.origin(path),
        value: shown(text),
        allowed: allowed.to_owned(),
    }
}
