//! Names of repositories.

use std::fmt;

use crate::Error;
use crate::error::quoted;

/// The longest repository name in bytes, slashes included (distribution, `reference`, total length of a name).
pub const REPOSITORY_NAME_MAX: usize = 255;

/// The name of a repository, for example `library/debian`.
///
/// The grammar is the one distribution's router and `reference.WithName` apply: path components of lower-case
/// letters and digits joined by `.`, `_`, `__` or any number of `-`, separated by `/`; the first of several
/// components may instead be a host name with an optional port. The names of OCI distribution 1.1 ("Pulling
/// manifests") are a part of it.
///
/// Invariants: not empty, at most [`REPOSITORY_NAME_MAX`] bytes, no component is `.`, `..` or begins with `_`,
/// so that a name is a safe relative path and never meets a folder of the layout.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`Error::InvalidRepositoryName`], the caller's fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match check(text) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(reason) => Err(Error::InvalidRepositoryName {
                given: quoted(text),
                reason,
            }),
        }
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > REPOSITORY_NAME_MAX {
        return Err("it is longer than 255 bytes");
    }
    let mut components = text.split('/');
    // `split` yields at least one item, even of an empty text.
    let first = components.next().unwrap_or_default();
    let several = first.len() < text.len();
    if !(is_path_component(first) || several && is_host(first)) {
        return Err(explain(first));
    }
    match components.find(|component| !is_path_component(component)) {
        Some(bad) => Err(explain(bad)),
        None => Ok(()),
    }
}

fn explain(component: &str) -> &'static str {
    if component.is_empty() {
        "a component is empty"
    } else if component.bytes().any(|byte| byte.is_ascii_uppercase()) {
        "it has an upper case letter"
    } else {
        "components are lower-case letters and digits, joined by one `.`, one or two `_`, or `-`"
    }
}

/// `[a-z0-9]+ (separator [a-z0-9]+)*` with the separators `.`, `_`, `__` and `-+`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let word = rest.iter().take_while(|byte| alphanumeric(byte)).count();
        rest = &rest[word..];
        let separator = rest.iter().take_while(|byte| !alphanumeric(byte)).count();
        let allowed = match &rest[..separator] {
            b"" | b"." | b"_" | b"__" => true,
            dashes => dashes.iter().all(|&byte| byte == b'-'),
        };
        if !allowed {
            return false;
        }
        rest = &rest[separator..];
    }
    true
}

/// A host name of any case or an IPv6 address in brackets, with an optional port.
fn is_host(component: &str) -> bool {
    let (host, port) = match component.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, after)) => match after.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => match component.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (component, None),
        },
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return false;
    }
    if component.starts_with('[') {
        return !host.is_empty() && host.bytes().all(|byte| byte == b':' || byte.is_ascii_hexdigit());
    }
    host.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_name(text: &str, expected: Result<(), &str>) {
        match (RepositoryName::parse(text), expected) {
            (Ok(name), Ok(())) => assert_eq!(name.as_str(), text),
            (Err(error), Err(part)) => {
                assert!(
                    error.to_string().contains(part),
                    "input: {text}\nexpected: {part}\ngot: {error}"
                );
            }
            (got, expected) => panic!("input: {text}\nexpected: {expected:?}\ngot: {got:?}"),
        }
    }

    #[test]
    fn names_follow_the_reference_grammar() {
        for name in [
            "a",
            "library/debian",
            "a/b_c",
            "a__b",
            "a.b",
            "a---b",
            "blobs/uploads/blobs",
            "tags/list",
            "0/1",
            "localhost:5000/image",
            "Registry.Example.COM/team/app",
            "[2001:db8::1]:5000/app",
            "Foo/bar",
        ] {
            check_name(name, Ok(()));
        }
    }

    #[test]
    fn names_that_break_a_rule_are_refused_with_it() {
        check_name("", Err("empty"));
        check_name("A", Err("upper case"));
        check_name("a/B", Err("upper case"));
        check_name("a//b", Err("empty"));
        check_name("/a", Err("empty"));
        check_name("a/", Err("empty"));
        for name in [
            "..",
            "a/..",
            "../a",
            ".",
            "a/./b",
            "_uploads",
            "a/_layers",
            "a..b",
            "a___b",
            "a_-b",
            "-a",
            "a-",
            "a b",
            "a\0b",
            "a\\b",
            "ä",
            "host:/x",
            "host:port/x",
            "[::1/x",
            "[]/x",
            "a:1",
        ] {
            check_name(name, Err("components are"));
        }
    }

    #[test]
    fn length_is_limited_to_255_bytes() {
        check_name(&"a".repeat(255), Ok(()));
        check_name(&"a".repeat(256), Err("longer than 255"));
    }

    proptest! {
        #[test]
        fn no_input_panics_and_accepted_names_are_safe_paths(text in "[a-zA-Z0-9._/:\\[\\]-]{0,40}|\\PC{0,40}") {
            if let Ok(name) = RepositoryName::parse(&text) {
                for component in name.as_str().split('/') {
                    prop_assert!(!component.is_empty() && component != "." && component != "..");
                    prop_assert!(!component.starts_with('_'));
                }
            }
        }

        #[test]
        fn no_mutated_name_panics_and_accepted_ones_are_safe_paths(
            text in registry_mutation::mutated_text(&["library/debian", "a", "registry.example.com:5000/a/b", "a__b/c--d/e.f", "[fd00::1]:5000/a"])
        ) {
            if let Ok(name) = RepositoryName::parse(&text) {
                prop_assert!(name.as_str().len() <= 255);
                for component in name.as_str().split('/') {
                    prop_assert!(!component.is_empty() && component != "." && component != "..");
                    prop_assert!(!component.starts_with('_') && !component.contains('\0'));
                }
            }
        }

        #[test]
        fn every_generated_name_is_accepted(text in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,3}(/[a-z0-9]{1,8}){0,3}") {
            prop_assert!(RepositoryName::parse(&text).is_ok());
        }
    }
}
