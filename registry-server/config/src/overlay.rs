//! Lays `REGISTRY_*` variables over the file, as distribution does.
//!
//! As in distribution: variables apply in the order of their names, `_` separates levels, the value is YAML. Different from
//! distribution, where each of these fails or does the wrong thing: names of the file work as well as Go's field names;
//! nested maps and lists of texts can be reached; a header is replaced whatever its case; a key that contains `_` can be
//! reached; the variables that Kubernetes injects for Services are recognised and ignored; a variable that names another
//! storage driver replaces the driver of the file.
//! Start at [`apply`].

use std::sync::Arc;

use crate::check::open_union;
use crate::keys::{self, Key, Schema, Shape};
use crate::tree::{Node, Origin, Tree, Value, shown, variable_value};
use crate::{Error, Warning, guarded};

const PREFIX: &str = "REGISTRY_";

/// Lays the variables over the tree. Variables without the prefix `REGISTRY_` are ignored.
pub(crate) fn apply(
    tree: &mut Tree,
    variables: impl IntoIterator<Item = (String, String)>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Vec<Error>> {
    let mut variables: Vec<_> = variables
        .into_iter()
        .filter(|(name, value)| {
            // The path of the file itself is no key of the file.
            has_prefix(name) && name != "REGISTRY_CONFIGURATION_PATH" && !is_service_link(name, value)
        })
        .collect();
    variables.sort();
    let mut errors = Vec::new();
    for (name, text) in &variables {
        let pieces: Vec<String> = name[PREFIX.len()..]
            .split('_')
            .map(str::to_ascii_lowercase)
            .collect();
        // Distribution reads variables in capitals alone. Other ones are ignored here too, except those of guarded keys.
        if !name.starts_with(PREFIX) {
            if let Some((meant, without)) = guarded::variable(&pieces).filter(|_| !text.is_empty()) {
                errors.push(Error::MisspeltVariable {
                    variable: name.clone(),
                    meant,
                    without,
                });
            }
            continue;
        }
        let mut walk = Walk {
            name: Arc::from(name.as_str()),
            text,
            path: String::new(),
        };
        match walk.set(&mut tree.root, keys::schema(), &pieces) {
            Ok(true) => {}
            Ok(false) => match guarded::variable(&pieces).filter(|_| !text.is_empty()) {
                Some((meant, without)) => errors.push(Error::MisspeltVariable {
                    variable: name.clone(),
                    meant,
                    without,
                }),
                None => warnings.push(Warning::UnknownVariable {
                    variable: name.clone(),
                }),
            },
            Err(error) => errors.push(error),
        }
    }
    settle_drivers(tree, warnings);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Whether a name begins with the prefix, in capitals or small letters.
fn has_prefix(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether Kubernetes (or `docker --link`) injected this variable for a Service whose name begins with `registry`:
/// `REGISTRY_PORT=tcp://10.0.0.1:5000`, `REGISTRY_HTTP_SERVICE_HOST=10.0.0.1`, `REGISTRY_PORT_5000_TCP_ADDR=…`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let is_port = value.parse::<u16>().is_ok();
    let is_address = value.parse::<std::net::IpAddr>().is_ok();
    let parts: Vec<&str> = name.split('_').collect();
    match parts.as_slice() {
        [.., "PORT", number, "TCP" | "UDP" | "SCTP"] => number.parse::<u16>().is_ok() && is_url,
        [
            ..,
            "PORT",
            number,
            "TCP" | "UDP" | "SCTP",
            "PROTO" | "PORT" | "ADDR",
        ] => number.parse::<u16>().is_ok(),
        [.., "SERVICE", "HOST"] => is_address,
        [.., "SERVICE", "PORT"] => is_port,
        [.., "PORT"] => is_url,
        // `REGISTRY_SERVICE_PORT_HTTPS=443`: a port with a name.
        parts => is_port && parts.windows(2).any(|pair| pair == ["SERVICE", "PORT"]),
    }
}

struct Walk<'a> {
    name: Arc<str>,
    text: &'a str,
    path: String,
}

impl Walk<'_> {
    /// Sets the value of the key that the pieces name; `false` when they name no known key.
    fn set(&mut self, node: &mut Node, schema: &Schema, pieces: &[String]) -> Result<bool, Error> {
        let Some(piece) = pieces.first() else {
            let value = self.value(schema)?;
            // An empty variable was probably forgotten, and it would remove a value that keeps the registry closed.
            if guarded::keeps_out(&self.path) && guarded::is_empty(&value) && !guarded::is_empty(node) {
                let allowed = match self.path.as_str() {
                    "auth" => "`htpasswd`, `silly`, `token`, or `none` for a registry without users",
                    _ => "a value; what the file says is taken away by taking it out of the file",
                };
                return Err(Error::Variable {
                    variable: self.name.to_string(),
                    path: self.path.clone(),
                    value: "an empty text".to_owned(),
                    allowed: allowed.to_owned(),
                });
            }
            *node = value;
            return Ok(true);
        };
        if let Some(item) = &schema.item {
            return self.set_item(node, item, pieces);
        }
        if keys::go_name(&self.path, piece) == Some("") {
            return self.set(node, schema, &pieces[1..]);
        }
        let Some((key, member, used)) = find(schema, &self.path, node, pieces) else {
            return Ok(false);
        };
        // `version` is the format of the file; distribution does not allow to override it either.
        if self.path.is_empty() && key == "version" {
            return Ok(false);
        }
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(&key);
        // The change is made in a copy, so that a variable without a known key leaves no empty sections.
        let mut child = node.get(&key).cloned().unwrap_or(Node {
            value: Value::Null,
            origin: self.origin(),
        });
        open_union(&self.path, &mut child);
        if !self.set(&mut child, member, &pieces[used..])? {
            return Ok(false);
        }
        open_union(&self.path, &mut child);
        *node.entry(&key) = child;
        if matches!(node.origin, Origin::Program) {
            node.origin = self.origin();
        }
        Ok(true)
    }

    fn set_item(&mut self, node: &mut Node, item: &Schema, pieces: &[String]) -> Result<bool, Error> {
        let items = match &mut node.value {
            Value::List(items) => items,
            Value::Null | Value::Scalar { .. } | Value::Map(_) => {
                node.value = Value::List(Vec::new());
                let Value::List(items) = &mut node.value else {
                    unreachable!("made a list just above")
                };
                items
            }
        };
        let length = items.len();
        let index = pieces[0]
            .parse::<usize>()
            .ok()
            .filter(|index| *index <= length)
            .ok_or_else(|| Error::Variable {
                variable: self.name.to_string(),
                path: self.path.clone(),
                value: format!("the index {}", shown(&pieces[0])),
                allowed: match length {
                    0 => "0, as the list is empty".to_owned(),
                    length => format!("0 to {length}, where {length} adds one"),
                },
            })?;
        self.path.push_str("[]");
        let mut child = items.get(index).cloned().unwrap_or(Node {
            value: Value::Null,
            origin: self.origin(),
        });
        if !self.set(&mut child, item, &pieces[1..])? {
            return Ok(false);
        }
        if index == length {
            items.push(child);
        } else {
            items[index] = child;
        }
        Ok(true)
    }

    /// The variable's text as the value of a key.
    fn value(&self, schema: &Schema) -> Result<Node, Error> {
        let parsed = variable_value(&self.name, self.text);
        let text_of = |schema: &Schema| {
            let text = |key: &Key| matches!(key.shape, Shape::Secret | Shape::Text | Shape::Pattern);
            schema.is_leaf() && schema.key.is_some_and(text)
        };
        // Distribution fails on a password such as `*abc` or `a: b`, which is YAML but no text, and on `*`, the most common
        // value of headers.
        let wants_text = text_of(schema);
        let wants_texts = schema.item.as_deref().is_some_and(text_of);
        let written_as_list = self.text.trim_start().starts_with(['[', '{', '-']);
        match parsed {
            Ok(node) => match node.value {
                Value::Scalar { .. } | Value::Null => Ok(node),
                Value::List(_) | Value::Map(_) if wants_text => Ok(self.raw()),
                Value::Map(_) if wants_texts && !written_as_list => Ok(self.raw()),
                Value::List(_) | Value::Map(_) => Ok(node),
            },
            Err(_) if wants_text || (wants_texts && !written_as_list) => Ok(self.raw()),
            Err(error) => Err(Error::Variable {
                variable: self.name.to_string(),
                path: self.path.clone(),
                // The text and the parser's message are left out: either may hold a secret.
                value: "its text".to_owned(),
                allowed: match error {
                    Error::Syntax { .. } if wants_texts => {
                        "one text, or a list of texts in quotes such as `['*', 'a b']`".to_owned()
                    }
                    Error::Syntax { line, column, .. } => {
                        format!("YAML; it is wrong at line {line}, column {column}")
                    }
                    _ => "YAML".to_owned(),
                },
            }),
        }
    }

    fn raw(&self) -> Node {
        Node {
            value: Value::Scalar {
                text: self.text.to_owned(),
                quoted: true,
            },
            origin: self.origin(),
        }
    }

    fn origin(&self) -> Origin {
        Origin::Variable(Arc::clone(&self.name))
    }
}

/// The member that the first pieces name, and the number of these pieces. Known keys come first, shorter ones before longer
/// ones with `_`; then existing keys of a map, then a new key of a map.
fn find<'a>(
    schema: &'a Schema,
    path: &str,
    node: &Node,
    pieces: &[String],
) -> Option<(String, &'a Schema, usize)> {
    for used in 1..=pieces.len() {
        let name = pieces[..used].join("_");
        let name = keys::go_name(path, &name).unwrap_or(&name);
        if let Some((name, member)) = schema.members.get_key_value(name) {
            return Some(((*name).to_owned(), member, used));
        }
    }
    let any = schema.any.as_deref()?;
    // The index of a list is the last piece; otherwise all pieces are the name, underscores included.
    let indexed = any.item.is_some() && pieces.len() > 1 && pieces[pieces.len() - 1].parse::<usize>().is_ok();
    let used = if indexed { pieces.len() - 1 } else { pieces.len() };
    let name = pieces[..used].join("_");
    let existing = match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(&name)),
        Value::Null | Value::Scalar { .. } | Value::List(_) => None,
    };
    Some((existing.map_or(name, |(key, _)| key.clone()), any, used))
}

/// Removes the file's storage driver when variables name another one: two would be refused, and the image's default file
/// always has one. The other storage settings of the file stay.
fn settle_drivers(tree: &mut Tree, warnings: &mut Vec<Warning>) {
    let Some(storage) = tree.root.get_mut("storage") else {
        return;
    };
    let Value::Map(entries) = &mut storage.value else {
        return;
    };
    let variable = |node: &Node| first_variable(node);
    let named: Vec<(String, Arc<str>)> = entries
        .iter()
        .filter(|(name, _)| crate::check::is_driver(name))
        .filter_map(|(name, node)| Some((name.clone(), variable(node)?)))
        .collect();
    let [(chosen, by)] = named.as_slice() else { return };
    entries.retain(|(name, _)| {
        let keep = !crate::check::is_driver(name) || name == chosen;
        if !keep {
            warnings.push(Warning::DriverReplaced {
                dropped: name.clone(),
                chosen: chosen.clone(),
                variable: by.to_string(),
            });
        }
        keep
    });
}

/// A variable from which a part of this value comes.
fn first_variable(node: &Node) -> Option<Arc<str>> {
    if let Origin::Variable(name) = &node.origin {
        return Some(Arc::clone(name));
    }
    match &node.value {
        Value::Null | Value::Scalar { .. } => None,
        Value::List(items) => items.iter().find_map(first_variable),
        Value::Map(entries) => entries.iter().find_map(|(_, node)| first_variable(node)),
    }
}

#[cfg(test)]
mod tests;
