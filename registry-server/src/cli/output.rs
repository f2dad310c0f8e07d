//! The one place that prints.

use std::io::Write;

use crate::telemetry::chain;

/// Data to standard output, talk to standard error. Who reads may go away at any time; that is no error.
#[derive(Debug)]
pub(super) struct Output;

impl Output {
    /// Data, as it is.
    pub(super) fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// An error and its causes, in one line. `place` says in what it was found.
    pub(super) fn error(&self, place: &str, error: &dyn std::error::Error) {
        let separator = if place.is_empty() { "" } else { ": " };
        self.line(&format!("error: {place}{separator}{}", chain(error)));
    }

    /// A way out, behind an error.
    pub(super) fn hint(&self, hint: &str) {
        self.line(&format!("hint: {hint}"));
    }

    /// Something worth knowing that stops nothing.
    pub(super) fn warning(&self, place: &str, warning: &dyn std::error::Error) {
        self.line(&format!("warning: {place}: {warning}"));
    }

    /// What a program says while it works.
    pub(super) fn talk(&self, text: &str) {
        self.line(text);
    }

    /// A question; the answer follows on the same line.
    pub(super) fn prompt(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    fn line(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }
}
