//! Errors and warnings of a configuration: one line each, with the key's path, the value and the allowed values.
//!
//! All errors are the caller's fault: only a changed file or variable helps. The value of a secret never appears.

use crate::tree::Origin;

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no YAML, or no YAML that a configuration may use.
    #[error("line {line}, column {column}: {problem}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// The problem at that place.
        problem: String,
    },
    /// A key has a value it may not have.
    #[error("`{path}`{}: {value} is not allowed; allowed: {allowed}", place(.origin))]
    Value {
        /// The key, with dots.
        path: String,
        /// Where the value comes from.
        origin: Origin,
        /// The value in backticks, or words for it when it is a secret or a section.
        value: String,
        /// The allowed values.
        allowed: String,
    },
    /// A key that must be there is not.
    #[error("`{path}` is missing; allowed: {allowed}")]
    Missing {
        /// The key, with dots.
        path: String,
        /// The allowed values.
        allowed: String,
    },
    /// Two keys exclude each other.
    #[error("`{path}`{} cannot stand beside `{other}`; allowed: {allowed}", place(.origin))]
    Conflict {
        /// The key, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
        /// The key it excludes.
        other: String,
        /// The allowed values.
        allowed: String,
    },
    /// The key is one of distribution's that this server does not act on, and going on without it would lose
    /// data, open access or change who is served.
    #[error("`{path}`{} is not supported: {reason}", place(.origin))]
    Refused {
        /// The key, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
        /// Why, as in the table of keys.
        reason: &'static str,
    },
    /// As `Refused`, but support is planned.
    #[error("`{path}`{} is not supported yet: {reason}", place(.origin))]
    Planned {
        /// The key, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
        /// Why going on without it would be wrong, as in the table of keys.
        reason: &'static str,
    },
    /// A key that is not known, but whose name is nearly that of a key which keeps the registry closed or its data safe.
    #[error("`{path}`{} is not a known key, but nearly `{meant}`, without which {without}; \
             write it as `{meant}`, or leave it out", place(.origin))]
    Misspelt {
        /// The key as written, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
        /// The known key, with dots.
        meant: String,
        /// The consequence of going on without the key.
        without: &'static str,
    },
    /// A variable that names no known key, but nearly such a one.
    #[error(
        "variable {variable} names no known key, but nearly `{meant}`, without which {without}; \
             the variable's name is the key's in capitals, with REGISTRY_ before it and `_` for each dot"
    )]
    MisspeltVariable {
        /// Its name.
        variable: String,
        /// The key, with dots.
        meant: String,
        /// The consequence of going on without the key.
        without: &'static str,
    },
    /// A variable does not fit the key it names.
    #[error("variable {variable}: {value} is not allowed for `{path}`; allowed: {allowed}")]
    Variable {
        /// Its name.
        variable: String,
        /// The key it names, with dots.
        path: String,
        /// The value in backticks, or words for it.
        value: String,
        /// The allowed values.
        allowed: String,
    },
}

/// The origin of a value in brackets, for the messages above; empty for a value that no person wrote.
fn place(origin: &Origin) -> String {
    match origin {
        Origin::Line(line) => format!(" (line {line})"),
        Origin::Variable(name) => format!(" (variable {name})"),
        Origin::Program => String::new(),
    }
}

/// A part of a configuration that has no effect, or not the expected one. The server starts nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// No such key in distribution or here.
    #[error("`{path}`{} is not a known key and is ignored", place(.origin))]
    UnknownKey {
        /// The key, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
    },
    /// A variable that names no key.
    #[error("variable {variable} names no known key and is ignored")]
    UnknownVariable {
        /// Its name.
        variable: String,
    },
    /// A key that keeps the registry closed or its data safe, and is empty.
    #[error("`{path}`{} is empty and counts as unset: {without}", place(.origin))]
    Empty {
        /// The key, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
        /// The consequence of going on without the key.
        without: &'static str,
    },
    /// A secret that can be guessed.
    #[error("`{path}`{} is shorter than {least} bytes: whoever guesses it can take over the uploads of others; \
             allowed: any text, such as 32 random bytes in base64", place(.origin))]
    Guessable {
        /// The key, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
        /// The shortest length that is not warned of.
        least: usize,
    },
    /// One of distribution's keys that changes nothing here.
    #[error("`{path}`{} has no effect: {reason}", place(.origin))]
    NoEffect {
        /// The key, with dots.
        path: String,
        /// Where it comes from.
        origin: Origin,
        /// Why, as in the table of keys.
        reason: &'static str,
    },
    /// A part of the configuration that does nothing, because something it needs is not set. Distribution finds
    /// out when it is too late.
    #[error("`{path}` does nothing: `{missing}` is not set")]
    Incomplete {
        /// The part, with dots.
        path: String,
        /// The missing key, with dots.
        missing: &'static str,
    },
    /// The file's storage driver gave way to the one that variables name.
    #[error("`storage.{dropped}` of the file is left out: {variable} names `storage.{chosen}`")]
    DriverReplaced {
        /// The driver of the file.
        dropped: String,
        /// The driver of the variable.
        chosen: String,
        /// The variable's name.
        variable: String,
    },
}
