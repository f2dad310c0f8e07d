//! Names in code are words of the field: none of those that only this house used.
//!
//! Guarantees: types, functions, methods, modules, fields, variants and constants are looked at; sentences
//! about behaviour are not, as the names of tests. Must not: look at names that other crates chose. Start at [`breaches`].

use proc_macro2::Ident;
use syn::visit::{self, Visit};

use super::House;
use super::modules::Files;

pub(super) const RULE: &str = "no name uses a word that only this house knows";

/// Words that nobody types into a search box for what they stood for here.
const WORDS: [&str; 13] = [
    "pass",
    "authority",
    "word",
    "life",
    "silence",
    "trouble",
    "beside",
    "again",
    "kinds",
    "jot",
    "eye",
    "fate",
    "shelf",
];

/// Names that keep such a word, each with its reason.
const KEPT: [(&str, &str); 1] = [(
    "CertificateAuthority",
    "the field's word, written out where `CA` would be two letters among others",
)];

/// A name of this many parts or more is a sentence about behaviour, as the names of tests are.
const SENTENCE: usize = 5;

/// How many such names are accepted.
pub(super) const LEFT: usize = 0;

/// A name that a file defines.
pub(crate) struct Name {
    file: String,
    line: usize,
    name: String,
}

/// Every name that these files define.
pub(super) fn names(files: &Files) -> Vec<Name> {
    let mut all = Vec::new();
    for (file, parsed) in files {
        let mut names = Names::default();
        names.visit_file(parsed);
        all.extend(names.0.into_iter().map(|(name, line)| Name {
            file: file.clone(),
            line,
            name,
        }));
    }
    all
}

pub(super) fn breaches(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for Name { file, line, name } in &house.names {
        let parts = parts(name);
        let word = WORDS.iter().find(|word| parts.iter().any(|part| part == *word));
        let kept = KEPT.iter().any(|(kept, _)| kept == name);
        if let Some(word) = word.filter(|_| !kept && parts.len() < SENTENCE) {
            found.push(format!("{word}: {name} in {file}:{line}"));
        }
    }
    found.sort();
    found
}

/// The parts of a name in lower case: `StoreHealth` and `store_health` are both `store` and `health`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut last_lower = false;
    for letter in name.chars() {
        if letter == '_' || (letter.is_uppercase() && last_lower) {
            parts.push(String::new());
        }
        if letter != '_' {
            parts
                .last_mut()
                .expect("it begins with one")
                .extend(letter.to_lowercase());
        }
        last_lower = letter.is_lowercase() || letter.is_numeric();
    }
    parts
}

/// Every name that a file defines, with its line.
#[derive(Default)]
struct Names(Vec<(String, usize)>);

impl Names {
    fn add(&mut self, name: &Ident) {
        self.0.push((name.to_string(), name.span().start().line));
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let sentence = item.attrs.iter().any(|attribute| {
            attribute
                .path()
                .segments
                .last()
                .is_some_and(|last| last.ident == "test")
        });
        if !sentence {
            self.add(&item.sig.ident);
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.add(&item.sig.ident);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add(&item.ident);
        visit::visit_item_const(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.add(&item.ident);
        visit::visit_impl_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.add(&item.ident);
        visit::visit_item_static(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.add(&item.ident);
        visit::visit_item_mod(self, item);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.add(&variant.ident);
        visit::visit_variant(self, variant);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.add(name);
        }
        visit::visit_field(self, field);
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_name_is_taken_apart_at_underscores_and_capitals() {
        assert_eq!(parts("try_again"), ["try", "again"]);
        assert_eq!(parts("TryAgain"), ["try", "again"]);
        assert_eq!(parts("bypass_lifetime"), ["bypass", "lifetime"]);
    }
}
