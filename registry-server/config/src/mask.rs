//! Hides secrets in a tree that people read.
//!
//! Guarantees: masked are the values of all keys that the table calls secret, the password of every URL, and the values
//! of unknown keys whose names suggest a secret.
//! Start at [`Tree::masked`].

use crate::MASK;
use crate::keys::{Schema, Shape, schema};
use crate::secret::mask_password;
use crate::tree::{Node, Tree, Value};

impl Tree {
    /// The same tree with [`MASK`] in place of every secret, for people to read.
    pub fn masked(&self) -> Self {
        let mut tree = self.clone();
        mask_secrets(&mut tree.root, Some(schema()));
        tree
    }
}

/// Prints the masked tree: a stray `{:?}` reveals nothing.
impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked().to_yaml())
    }
}

fn mask_secrets(node: &mut Node, schema: Option<&Schema>) {
    if schema
        .and_then(|schema| schema.key)
        .is_some_and(|key| key.shape == Shape::Secret)
    {
        mask_value(node);
        return;
    }
    match &mut node.value {
        Value::Null => {}
        Value::Scalar { text, .. } => {
            if let Some(masked) = mask_password(text) {
                *text = masked;
            }
        }
        Value::List(items) => {
            let schema = schema.and_then(|schema| schema.item.as_deref());
            items.iter_mut().for_each(|item| mask_secrets(item, schema));
        }
        Value::Map(entries) => {
            for (name, node) in entries {
                let member = schema.and_then(|schema| schema.member(name));
                if member.is_none() && sounds_secret(name) {
                    mask_value(node);
                } else {
                    mask_secrets(node, member);
                }
            }
        }
    }
}

/// Whether the name of an unknown key or of a variable suggests that its value is a secret: a misspelt `passwrod` holds
/// one too.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["secret", "pass", "token", "key", "credential", "auth"]
        .iter()
        .any(|part| name.contains(part))
}

/// Puts [`MASK`] in place of every text of a value.
fn mask_value(node: &mut Node) {
    match &mut node.value {
        Value::Null => {}
        Value::Scalar { text, quoted } => {
            if !text.is_empty() {
                MASK.clone_into(text);
                *quoted = true;
            }
        }
        Value::List(items) => items.iter_mut().for_each(mask_value),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| mask_value(node)),
    }
}
