//! Arrows between files: from the one that uses a name to the one that defines it.
//!
//! Guarantees: an arrow knows every name it carries and the lines that spell them; a file has no arrow to itself; `mod` and
//! `pub use` draw none. Must not: judge an arrow; that is `circles`' and `order`'s. Start at [`Arrows::of`].

use std::collections::{BTreeMap, BTreeSet};

use super::House;
use super::modules::{Modules, Segments};
use super::resolve::resolve;

pub(super) const RULE: &str = "each path that begins with `crate`, `self` or `super` leads to a definition";

/// Names and the first line that spells each.
pub(crate) type Names = BTreeMap<String, usize>;

pub(crate) struct Arrows {
    /// From a file to a file, both by index into [`Modules::files`].
    pub(crate) all: BTreeMap<(usize, usize), Names>,
    /// Paths that begin with `crate`, `self` or `super` and lead nowhere, each as `file:line: path`.
    lost: BTreeSet<String>,
}

impl Arrows {
    pub(crate) fn of(modules: &Modules) -> Self {
        let mut arrows = Self {
            all: BTreeMap::new(),
            lost: BTreeSet::new(),
        };
        for (index, module) in modules.all.iter().enumerate() {
            for import in &module.imports {
                if !import.exported {
                    arrows.add(modules, index, &import.path, import.line);
                }
            }
            for use_ in &module.uses {
                arrows.add(modules, index, &use_.path, use_.line);
            }
        }
        arrows
    }

    fn add(&mut self, modules: &Modules, module: usize, path: &Segments, line: usize) {
        let found = resolve(modules, module, path);
        let from = modules.all[module].file;
        let ours = ["crate", "self", "super"].contains(&path[0].as_str()) && path.len() > 1;
        if found.is_nothing() && ours {
            let text = path.join("::");
            self.lost
                .insert(format!("{}:{line}: {text}", modules.files[from]));
        }
        let Some(owner) = found.item else {
            return;
        };
        let to = modules.all[owner].file;
        if from != to {
            // A variant or an associated item behind the name is left out.
            let name = path
                .iter()
                .rev()
                .find(|name| modules.all[owner].items.contains(*name));
            let name = name.or(path.last()).cloned().unwrap_or_default();
            let first = self
                .all
                .entry((from, to))
                .or_default()
                .entry(name)
                .or_insert(line);
            *first = line.min(*first);
        }
    }
}

/// Names in one line, as `Driver, Error`.
pub(crate) fn list(names: &Names) -> String {
    names.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Paths of ours that no definition was found for: without it an arrow would be missing.
pub(super) fn lost(house: &House) -> Vec<String> {
    house.arrows.lost.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::modules::Files;

    /// The arrows among these files of one crate, each as `from names the names of to`.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let parse =
            |(path, text): &(&str, &str)| (format!("app/src/{path}.rs"), syn::parse_file(text).unwrap());
        let files: Files = files.iter().map(parse).collect();
        let modules = Modules::of(&files, &[("app", "app")]).unwrap();
        let arrows = Arrows::of(&modules);
        assert!(arrows.lost.is_empty(), "{:?}", arrows.lost);
        let file = |index: usize| {
            modules.files[index]
                .trim_start_matches("app/src/")
                .trim_end_matches(".rs")
        };
        let text = |((from, to), names): (&(usize, usize), &Names)| {
            format!("{} names {} of {}", file(*from), list(names), file(*to))
        };
        let mut found: Vec<String> = arrows.all.iter().map(text).collect();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_arrow_leads_to_the_definition_and_not_to_the_file_that_hands_it_on() {
        let files = [
            ("lib", "mod a; mod store;"),
            (
                "a",
                "use crate::store::Driver; fn f(x: crate::store::Kind) { crate::store::helpers::go(); }",
            ),
            (
                "store",
                "mod driver; pub mod helpers; pub use driver::{Driver, Kind};",
            ),
            ("store/driver", "pub struct Driver; pub enum Kind { A }"),
            ("store/helpers", "pub fn go() { let _ = super::Kind::A; }"),
        ];
        let expected = [
            "a names Driver, Kind of store/driver",
            "a names go of store/helpers",
            "store/helpers names Kind of store/driver",
        ];
        check(&files, &expected);
    }

    #[test]
    fn tests_draw_no_arrows_and_macros_do() {
        let files = [
            ("lib", "mod a; mod b;"),
            (
                "a",
                "fn f() { assert_eq!(1, crate::b::ONE); } #[cfg(test)] mod tests { use crate::b::Two; }",
            ),
            (
                "b",
                "pub const ONE: u8 = 1; #[cfg(test)] fn f() { crate::a::f(); } struct Two;",
            ),
        ];
        check(&files, &["a names ONE of b"]);
    }

    #[test]
    fn globs_and_paths_in_attributes_draw_arrows() {
        let files = [
            ("lib", "mod a; mod b; mod c;"),
            ("a", "use crate::b::*; fn f() -> One { One }"),
            ("b", "pub struct One;"),
            (
                "c",
                "#[derive(Deserialize)] struct C { #[serde(default = \"crate::a::f\")] one: u8 }",
            ),
        ];
        check(&files, &["a names One of b", "c names f of a"]);
    }
}
