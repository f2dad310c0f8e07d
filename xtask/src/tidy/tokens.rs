//! Paths in what is not parsed: the tokens of macros and attributes.
//!
//! Guarantees: every `a::b` is found, and every name alone; strings are read where serde, clap or kube take a path in one.
//! Must not: decide whether such a path names anything. Start at [`paths_in_tokens`].

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::modules::Use;

/// The keys of `#[serde(…)]` and its like whose string is a path.
const PATH_KEYS: [&str; 9] = [
    "default",
    "with",
    "serialize_with",
    "deserialize_with",
    "skip_serializing_if",
    "from",
    "into",
    "try_from",
    "schema_with",
];

/// Keywords before the name that an item defines.
const DEFINING: [&str; 7] = ["const", "enum", "fn", "static", "struct", "trait", "type"];

/// Whether these attributes keep an item for tests.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return attribute.path().is_ident("test");
        };
        if !list.path.is_ident("cfg") {
            return false;
        }
        let tokens: Vec<TokenTree> = list.tokens.clone().into_iter().collect();
        match tokens.as_slice() {
            [TokenTree::Ident(only)] => only == "test",
            [TokenTree::Ident(all), TokenTree::Group(group), ..] if all == "all" => group
                .stream()
                .into_iter()
                .any(|token| matches!(token, TokenTree::Ident(name) if name == "test")),
            _ => false,
        }
    })
}

/// Adds the paths that tokens spell. A name after a dot is a field or a method, and a name alone counts too: whether it is one
/// of the module's is for the resolver to say.
pub(crate) fn paths_in_tokens(tokens: TokenStream, uses: &mut Vec<Use>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => paths_in_tokens(group.stream(), uses),
            TokenTree::Ident(first) if !after_dot(&tokens, at) => {
                let mut path = vec![first.to_string()];
                while let Some(next) = segment_after(&tokens, at) {
                    path.push(next);
                    at += 3;
                }
                uses.push(Use {
                    path,
                    line: first.span().start().line,
                });
            }
            _ => {}
        }
        at += 1;
    }
}

fn after_dot(tokens: &[TokenTree], at: usize) -> bool {
    let is_dot = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.');
    // `..name` is a range or a rest, and its name is one.
    at > 0 && is_dot(&tokens[at - 1]) && !(at > 1 && is_dot(&tokens[at - 2]))
}

/// The name behind `::`, if the token at `at` has one.
fn segment_after(tokens: &[TokenTree], at: usize) -> Option<String> {
    let colon =
        |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    match tokens.get(at + 3) {
        Some(TokenTree::Ident(name)) if colon(tokens.get(at + 1)) && colon(tokens.get(at + 2)) => {
            Some(name.to_string())
        }
        _ => None,
    }
}

/// The names that a macro's tokens define, as far as they spell `enum Name` and the like.
pub(crate) fn definitions_in_tokens(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Group(group), _) => names.extend(definitions_in_tokens(group.stream())),
            (TokenTree::Ident(keyword), Some(TokenTree::Ident(name)))
                if DEFINING.iter().any(|known| keyword == known) =>
            {
                names.push(name.to_string());
            }
            _ => {}
        }
    }
    names
}

/// Adds the paths of an attribute: longer ones, names of types, and strings that serde and its like take for a path.
pub(crate) fn paths_in_attribute(attribute: &syn::Attribute, uses: &mut Vec<Use>) {
    let syn::Meta::List(list) = &attribute.meta else {
        return;
    };
    // A derive names a macro, which may have the name of a type of ours.
    if list.path.is_ident("derive") {
        return;
    }
    let mut found = Vec::new();
    paths_in_tokens(list.tokens.clone(), &mut found);
    let names_a_type = |path: &[String]| path[0].starts_with(char::is_uppercase);
    uses.extend(
        found
            .into_iter()
            .filter(|use_| use_.path.len() > 1 || names_a_type(&use_.path)),
    );
    paths_in_strings(list.tokens.clone(), uses);
}

fn paths_in_strings(tokens: TokenStream, uses: &mut Vec<Use>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
                paths_in_strings(group.stream(), uses);
            }
            TokenTree::Literal(literal) if at >= 2 => {
                let is_key = matches!(&tokens[at - 2], TokenTree::Ident(key) if PATH_KEYS.iter().any(|known| key == known));
                let path = is_key.then(|| syn::parse_str::<syn::LitStr>(&literal.to_string()).ok());
                if let Some(path) = path.flatten().and_then(|text| text.parse::<syn::Path>().ok()) {
                    uses.push(Use {
                        path: path
                            .segments
                            .iter()
                            .map(|segment| segment.ident.to_string())
                            .collect(),
                        line: literal.span().start().line,
                    });
                }
            }
            _ => {}
        }
    }
}
