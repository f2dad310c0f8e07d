//! Who must act on an error: the one question every error of every room answers.

use std::time::Duration;

/// Who must act, and so which status, exit code and log level an error gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request or its content is wrong: the caller must change it.
    Caller,
    /// Nothing is wrong with the request; the same one may work later.
    Transient {
        /// When trying again makes sense, where that is known.
        retry_after: Option<Duration>,
    },
    /// Stored data or the program itself is wrong: an operator must act.
    Permanent,
}
