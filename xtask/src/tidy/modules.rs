//! The modules of a program: every file, what it defines, and every name it uses.
//!
//! Guarantees: a module is found through its `mod` declaration, as the compiler finds it; what stands under
//! `#[cfg(test)]` is left out. Must not: resolve a name; that is `resolve`'s. Start at [`Modules::of`].

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use syn::visit::{self, Visit};

use super::tokens::{definitions_in_tokens, is_test, paths_in_attribute, paths_in_tokens};

/// Every file, parsed, by its path from the checkout.
pub(crate) type Files = BTreeMap<String, syn::File>;

/// A path as the source spells it, such as `["crate", "storage", "Driver"]`.
pub(crate) type Segments = Vec<String>;

/// One `use` of one name.
pub(crate) struct Import {
    /// The name it has in this module; `None` for a glob.
    pub(crate) alias: Option<String>,
    pub(crate) path: Segments,
    pub(crate) line: usize,
    /// Whether it hands the name on, as `pub use` does. A re-export is no arrow by itself.
    pub(crate) exported: bool,
}

/// A path in an expression, a type, a pattern, a macro or an attribute.
pub(crate) struct Use {
    pub(crate) path: Segments,
    pub(crate) line: usize,
}

pub(crate) struct Module {
    pub(crate) parent: Option<usize>,
    /// The root of the crate.
    pub(crate) root: usize,
    /// Index into [`Modules::files`].
    pub(crate) file: usize,
    pub(crate) children: BTreeMap<String, usize>,
    pub(crate) items: BTreeSet<String>,
    /// The variants of each enum, for `use Enum::*`.
    pub(crate) variants: BTreeMap<String, BTreeSet<String>>,
    pub(crate) imports: Vec<Import>,
    pub(crate) uses: Vec<Use>,
}

/// All modules of some crates.
#[derive(Default)]
pub(crate) struct Modules {
    /// Paths from the checkout.
    pub(crate) files: Vec<String>,
    pub(crate) all: Vec<Module>,
    /// The root module of each library, by the name that code uses.
    pub(crate) libraries: BTreeMap<String, usize>,
    /// Modules that are compiled for tests alone: their paths without `.rs`.
    tests: Vec<String>,
}

impl Modules {
    /// Joins the files of these crates, each a folder and the name that code uses for its library.
    pub(crate) fn of(files: &Files, crates: &[(&str, &str)]) -> Result<Self> {
        let mut modules = Self::default();
        for (folder, library) in crates {
            let root = format!("{folder}/src/lib.rs");
            if files.contains_key(&root) {
                let module = modules.file(files, &root, None)?;
                modules.libraries.insert((*library).to_owned(), module);
            }
            let root = format!("{folder}/src/main.rs");
            if files.contains_key(&root) {
                modules.file(files, &root, None)?;
            }
        }
        Ok(modules)
    }

    /// Whether a file is compiled for tests alone.
    #[cfg(test)]
    pub(crate) fn is_for_tests(&self, file: &str) -> bool {
        let below = |module: &String| {
            let rest = file.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        self.tests.iter().any(below)
    }

    /// Takes the file of one module and those of its children.
    fn file(&mut self, files: &Files, file: &str, parent: Option<usize>) -> Result<usize> {
        let parsed = files.get(file).ok_or_else(|| anyhow!("{file} was not read"))?;
        self.files.push(file.to_owned());
        let index = self.add(self.files.len() - 1, parent);
        self.fill(files, &children_folder(file), index, &parsed.items)?;
        Ok(index)
    }

    fn add(&mut self, file: usize, parent: Option<usize>) -> usize {
        let index = self.all.len();
        self.all.push(Module {
            parent,
            root: parent.map_or(index, |parent| self.all[parent].root),
            file,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            variants: BTreeMap::new(),
            imports: Vec::new(),
            uses: Vec::new(),
        });
        index
    }

    fn fill(&mut self, files: &Files, folder: &str, module: usize, items: &[syn::Item]) -> Result<()> {
        for item in items {
            let syn::Item::Mod(child) = item else {
                Collector {
                    module: &mut self.all[module],
                    depth: 0,
                }
                .visit_item(item);
                continue;
            };
            let name = child.ident.to_string();
            if is_test(&child.attrs) {
                self.tests.push(format!("{folder}/{name}"));
                continue;
            }
            let index = if let Some((_, items)) = &child.content {
                let index = self.add(self.all[module].file, Some(module));
                self.fill(files, &format!("{folder}/{name}"), index, items)?;
                index
            } else {
                // `name/mod.rs` is refused by a lint of the workspace.
                let file = match path(&child.attrs) {
                    Some(path) => {
                        let own = &self.files[self.all[module].file];
                        let (beside, _) = own.rsplit_once('/').unwrap_or_default();
                        format!("{beside}/{path}")
                    }
                    None => format!("{folder}/{name}.rs"),
                };
                self.file(files, &file, Some(module))?
            };
            // A second module of the name stands in for the first where a feature is off: names lead to the first.
            self.all[module].children.entry(name).or_insert(index);
        }
        Ok(())
    }
}

/// The file that `#[path = "…"]` names for a module.
fn path(attributes: &[syn::Attribute]) -> Option<String> {
    let value = attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => Some(&pair.value),
        _ => None,
    });
    match value {
        Some(syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        })) => Some(text.value()),
        _ => None,
    }
}

/// The folder in which a file's `mod name;` is looked for.
fn children_folder(file: &str) -> String {
    let stem = file.trim_end_matches(".rs");
    let root = stem.strip_suffix("/lib").or_else(|| stem.strip_suffix("/main"));
    root.unwrap_or(stem).to_owned()
}

/// Takes everything out of one item of a module.
struct Collector<'a> {
    module: &'a mut Module,
    /// How many functions the visitor is inside of.
    depth: usize,
}

impl Collector<'_> {
    fn define(&mut self, name: &syn::Ident) {
        if self.depth == 0 {
            self.module.items.insert(name.to_string());
        }
    }

    fn import(&mut self, tree: &syn::UseTree, before: &mut Segments, exported: bool) {
        let mut add = |alias: Option<String>, path: Segments, ident: proc_macro2::Span| {
            self.module.imports.push(Import {
                alias,
                path,
                line: ident.start().line,
                exported,
            });
        };
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before, exported);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, exported);
                }
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                add(before.last().cloned(), before.clone(), name.ident.span());
            }
            syn::UseTree::Name(name) => {
                let path = [before.as_slice(), &[name.ident.to_string()]].concat();
                add(Some(name.ident.to_string()), path, name.ident.span());
            }
            syn::UseTree::Rename(rename) => {
                let mut path = before.clone();
                if rename.ident != "self" {
                    path.push(rename.ident.to_string());
                }
                add(Some(rename.rename.to_string()), path, rename.ident.span());
            }
            syn::UseTree::Glob(glob) => add(None, before.clone(), glob.star_token.spans[0]),
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item;
        let attributes = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Union(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_test(attributes) {
            return;
        }
        match item {
            Item::Const(item) => self.define(&item.ident),
            Item::Enum(item) => {
                self.define(&item.ident);
                let variants = item.variants.iter().map(|variant| variant.ident.to_string());
                self.module
                    .variants
                    .insert(item.ident.to_string(), variants.collect());
            }
            Item::Fn(item) => self.define(&item.sig.ident),
            Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.define(name);
                }
                if self.depth == 0 {
                    self.module
                        .items
                        .extend(definitions_in_tokens(item.mac.tokens.clone()));
                }
            }
            Item::Static(item) => self.define(&item.ident),
            Item::Struct(item) => self.define(&item.ident),
            Item::Trait(item) => self.define(&item.ident),
            Item::Type(item) => self.define(&item.ident),
            Item::Union(item) => self.define(&item.ident),
            Item::Use(item) => {
                let exported = !matches!(item.vis, syn::Visibility::Inherited);
                self.import(&item.tree, &mut Vec::new(), exported);
                return;
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.depth += 1;
        visit::visit_block(self, block);
        self.depth -= 1;
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        use syn::ImplItem;
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !is_test(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_test(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // `::name` is always a crate.
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        if let Some(first) = path.segments.first() {
            self.module.uses.push(Use {
                path: segments.collect(),
                line: first.ident.span().start().line,
            });
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        paths_in_tokens(call.tokens.clone(), &mut self.module.uses);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        paths_in_attribute(attribute, &mut self.module.uses);
    }
}
