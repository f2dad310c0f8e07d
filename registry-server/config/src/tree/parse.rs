//! YAML text to a tree: anchors, aliases and `<<` settled, duplicate keys refused, depth and size bounded.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use super::node::{MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, Origin, Value, shown};
use crate::Error;

/// A collection that is still open.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value, in a section.
    key: Option<String>,
    /// The sections that `<<` names, in order.
    merged: Vec<Node>,
    at: (usize, usize),
}

struct Builder<'a> {
    variable: Option<&'a Arc<str>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// Reads one document. With a variable's name, that is where its values come from.
pub(super) fn node(text: &str, variable: Option<&Arc<str>>) -> Result<Node, Error> {
    if text.len() > MAX_BYTES {
        return Err(syntax(
            (1, 1),
            format!("{} bytes are too many; at most {MAX_BYTES} are read", text.len()),
        ));
    }
    let mut options = Options::default();
    options.emit_comments = false;
    options.flow_nesting_limit = MAX_DEPTH * 2;
    options.block_nesting_limit = MAX_DEPTH * 2;
    let mut builder = Builder {
        variable,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            // The parser's message may be of several lines; ours are one.
            syntax((mark.line(), mark.col() + 1), error.info().replace('\n', " "))
        })?;
        builder.event(event, span)?;
    }
    let origin = builder.origin(1);
    Ok(builder.root.unwrap_or(Node {
        value: Value::Null,
        origin,
    }))
}

/// Reads the value of a variable as YAML, as distribution does: `true`, `[a, b]`, `{a: b}`.
pub(crate) fn variable_value(name: &Arc<str>, text: &str) -> Result<Node, Error> {
    node(text, Some(name))
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Error> {
        let at = (span.start.line(), span.start.col() + 1);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let quoted = style != ScalarStyle::Plain || forced;
                let value = match text.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if !quoted => Value::Null,
                    text => Value::Scalar {
                        text: text.to_owned(),
                        quoted,
                    },
                };
                let node = Node {
                    value,
                    origin: self.origin(at.0),
                };
                self.finish(node, anchor, at)
            }
            Event::SequenceStart(_, anchor, _) => self.start(Value::List(Vec::new()), anchor, at),
            Event::MappingStart(_, anchor, _) => self.start(Value::Map(Vec::new()), anchor, at),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(mut done) => {
                    if let Value::Map(entries) = &mut done.node.value {
                        merge(entries, done.merged);
                    }
                    self.finish(done.node, done.anchor, done.at)
                }
                None => Err(syntax(at, "an end without a start".to_owned())),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                // The copy counts in full: otherwise nine lines could ask for gigabytes.
                Some(node) => {
                    let node = node.clone();
                    self.spend(node.count(), at)?;
                    if self.open.len() + node.depth() > MAX_DEPTH {
                        return Err(too_deep(at));
                    }
                    self.finish(node, 0, at)
                }
                None => Err(syntax(at, "an alias of a value that contains it".to_owned())),
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(syntax(at, "a second document; a configuration is one".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, value: Value, anchor: usize, at: (usize, usize)) -> Result<(), Error> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        let node = Node {
            value,
            origin: self.origin(at.0),
        };
        self.open.push(Open {
            node,
            anchor,
            key: None,
            merged: Vec::new(),
            at,
        });
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, at: (usize, usize)) -> Result<(), Error> {
        self.spend(1, at)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match parent.key.take() {
                None => match node.value {
                    Value::Scalar { text, .. } => parent.key = Some(text),
                    Value::Null | Value::List(_) | Value::Map(_) => {
                        return Err(syntax(at, "a key that is not a plain text".to_owned()));
                    }
                },
                Some(key) if key == "<<" => parent.merged.extend(sections(node, at)?),
                Some(key) if entries.iter().any(|(name, _)| *name == key) => {
                    return Err(syntax(at, format!("{} stands here twice", shown(&key))));
                }
                Some(key) => entries.push((key, node)),
            },
            Value::Null | Value::Scalar { .. } => unreachable!("only collections are opened"),
        }
        Ok(())
    }

    fn spend(&mut self, nodes: usize, at: (usize, usize)) -> Result<(), Error> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(syntax(at, format!("more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn origin(&self, line: usize) -> Origin {
        match self.variable {
            Some(name) => Origin::Variable(Arc::clone(name)),
            None => Origin::Line(line),
        }
    }
}

/// The sections that `<<` names: one, or a list (YAML 1.1, merge key).
fn sections(node: Node, at: (usize, usize)) -> Result<Vec<Node>, Error> {
    let sections = match node.value {
        Value::List(items) => items,
        Value::Null | Value::Scalar { .. } | Value::Map(_) => vec![node],
    };
    match sections
        .iter()
        .all(|section| matches!(section.value, Value::Map(_)))
    {
        true => Ok(sections),
        false => Err(syntax(
            at,
            "`<<` takes a section or a list of sections".to_owned(),
        )),
    }
}

/// Adds what is not there: a section's own keys win over merged ones, and earlier sections over later ones.
fn merge(entries: &mut Vec<(String, Node)>, sections: Vec<Node>) {
    for section in sections {
        let Value::Map(more) = section.value else { continue };
        for (key, node) in more {
            if !entries.iter().any(|(name, _)| *name == key) {
                entries.push((key, node));
            }
        }
    }
}

fn too_deep(at: (usize, usize)) -> Error {
    syntax(at, format!("more than {MAX_DEPTH} levels"))
}

fn syntax((line, column): (usize, usize), problem: String) -> Error {
    Error::Syntax {
        line,
        column,
        problem,
    }
}
