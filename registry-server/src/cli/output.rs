//! The only place that prints.

use std::io::Write;

use crate::fault::chain;

/// Prints data to standard output and messages to standard error. A closed stream is no error.
#[derive(Debug)]
pub(super) struct Output;

impl Output {
    /// Prints data unchanged.
    pub(super) fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Prints an error and its causes in one line. `place` names the file or variable that is to blame, or is empty.
    pub(super) fn error(&self, place: &str, error: &dyn std::error::Error) {
        let separator = if place.is_empty() { "" } else { ": " };
        self.line(&format!("error: {place}{separator}{}", chain(error)));
    }

    /// Prints a way out, after an error.
    pub(super) fn hint(&self, hint: &str) {
        self.line(&format!("hint: {hint}"));
    }

    /// Prints a warning about `place`.
    pub(super) fn warning(&self, place: &str, warning: &dyn std::error::Error) {
        self.line(&format!("warning: {place}: {warning}"));
    }

    /// Prints one line about the progress or the result of a command.
    pub(super) fn message(&self, text: &str) {
        self.line(text);
    }

    /// Prints a question. The answer is typed on the same line.
    pub(super) fn prompt(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    /// Replaces the last line of the terminal. There is no line feed, so that the line can be replaced again.
    pub(super) fn draw(&self, text: &str) {
        self.prompt(&format!("\r{text}\x1b[K"));
    }

    fn line(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }
}

/// A number of bytes for people, such as `18.6 GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} {}", UNITS[0]),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_the_unit_people_use() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (20_000_000_000, "18.6 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
