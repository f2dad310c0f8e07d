//! The two questions that every room asks of an error: who must act on it, and what is its text with all causes?
//!
//! Must not: know a room. Every other file of the program may use this one.
//! Start at [`Fault`] and [`chain`].

use std::error::Error;
use std::time::Duration;

/// The party that must act on an error. The HTTP status, the exit code and the log level follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request or its content is wrong: the caller must change it.
    Caller,
    /// Nothing is wrong with the request: the same request may succeed later.
    Transient {
        /// When a retry makes sense, if that is known.
        retry_after: Option<Duration>,
    },
    /// Stored data or the program itself is wrong: an operator must act.
    Permanent,
}

/// The text of an error and of all its causes, in one line, joined by `: `.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library's error that repeats its cause in its own text.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot list: the store is away")]
    struct Doubled(#[source] std::io::Error);

    #[test]
    fn a_chain_of_causes_says_each_once() {
        let error = Doubled(std::io::Error::other("the store is away"));
        assert_eq!(chain(&error), "cannot list: the store is away");
        let error = Doubled(std::io::Error::other("nobody listens"));
        assert_eq!(chain(&error), "cannot list: the store is away: nobody listens");
    }
}
