//! Standard output, which holds results and nothing else.

use anyhow::Context as _;

/// Writes to standard output. A reader that closed the pipe is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}
