//! The file that defines a name.
//!
//! Guarantees: `use`, `pub use`, globs, `crate`, `self`, `super` and the sibling crates are followed to the definition.
//! Must not: guess: a name of another crate, a local variable or a generic parameter is nobody's. Start at [`resolve`].

use super::modules::{Modules, Segments};

/// The target of a path: a module, an item, or both, since they may have the same name.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found {
    pub(crate) module: Option<usize>,
    /// The module that defines the item.
    pub(crate) item: Option<usize>,
    /// Whether the name is another crate's.
    external: bool,
}

impl Found {
    pub(crate) fn is_nothing(self) -> bool {
        self.module.is_none() && self.item.is_none() && !self.external
    }

    const EXTERNAL: Self = Self {
        module: None,
        item: None,
        external: true,
    };

    fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self.item.is_some() || self.external {
            return self;
        }
        let other = other();
        Self {
            module: self.module.or(other.module),
            ..other
        }
    }
}

/// Names that are looked up at this moment, so that two globs that import each other end.
type Running = Vec<(usize, String)>;

/// Resolves `path` as `module` spells it.
pub(crate) fn resolve(modules: &Modules, module: usize, path: &Segments) -> Found {
    resolve_from(modules, module, path, &mut Running::new())
}

fn resolve_from(modules: &Modules, module: usize, path: &[String], running: &mut Running) -> Found {
    let Some((first, mut rest)) = path.split_first() else {
        return Found::default();
    };
    let in_module = |module| Found {
        module: Some(module),
        ..Found::default()
    };
    let mut found = match first.as_str() {
        "crate" => in_module(modules.all[module].root),
        "self" => in_module(module),
        "super" => {
            let Some(mut ancestor) = modules.all[module].parent else {
                return Found::default();
            };
            while rest.first().is_some_and(|next| next == "super") {
                let Some(parent) = modules.all[ancestor].parent else {
                    return Found::default();
                };
                (ancestor, rest) = (parent, &rest[1..]);
            }
            in_module(ancestor)
        }
        name => lookup(modules, module, name, running).or(|| {
            modules
                .libraries
                .get(name)
                .map_or_else(Found::default, |library| in_module(*library))
        }),
    };
    for next in rest {
        // Behind an item stand its variants and its associated items, which are defined with it.
        let Some(inside) = found.module else {
            return found;
        };
        let below = lookup(modules, inside, next, running);
        if below.is_nothing() && found.item.is_some() {
            return Found {
                module: None,
                ..found
            };
        }
        found = below;
    }
    found
}

/// Looks `name` up in the scope of `module`.
fn lookup(modules: &Modules, module: usize, name: &str, running: &mut Running) -> Found {
    let key = (module, name.to_owned());
    if running.contains(&key) {
        return Found::default();
    }
    running.push(key);
    let here = &modules.all[module];
    let mut found = Found {
        module: here.children.get(name).copied(),
        item: here.items.contains(name).then_some(module),
        external: false,
    };
    for import in here
        .imports
        .iter()
        .filter(|import| import.alias.as_deref() == Some(name))
    {
        found = found.or(|| {
            // `use name;` of a crate, or `use name::…`: nothing of ours has that first name.
            let target = resolve_from(modules, module, &import.path, running);
            if target.is_nothing() {
                Found::EXTERNAL
            } else {
                target
            }
        });
    }
    for import in here.imports.iter().filter(|import| import.alias.is_none()) {
        found = found.or(|| {
            let target = resolve_from(modules, module, &import.path, running);
            if let Some(inside) = target.module {
                return lookup(modules, inside, name, running);
            }
            let enumeration = import.path.last().map_or("", String::as_str);
            let is_variant = |owner: &usize| {
                let variants = modules.all[*owner].variants.get(enumeration);
                variants.is_some_and(|variants| variants.contains(name))
            };
            Found {
                item: target.item.filter(is_variant),
                ..Found::default()
            }
        });
    }
    running.pop();
    found
}
