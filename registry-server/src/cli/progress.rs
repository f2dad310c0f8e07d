//! How far long work is: a bar where somebody watches, a line now and then elsewhere.
//!
//! Guarantees: nothing is drawn over data or over a sentence; a bar is gone when the work is done; work that takes less
//! than a second shows none; a share of the whole is shown only where it is known.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use super::output::Output;

/// Time between two lines where nothing is drawn.
const LINES: Duration = Duration::from_secs(10);
/// Time between two drawings.
const DRAWINGS: Duration = Duration::from_millis(100);
/// What is done sooner needs no bar.
const SHORT: Duration = Duration::from_secs(1);
/// The width of the bar itself, where there is room for it.
const WIDTH: usize = 24;
/// A shorter one says nothing.
const SHORTEST: usize = 5;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Drawn,
    Lines,
    Not,
}

/// Decides, from whether quiet was asked for, whether standard error is a terminal, and whether this is a CI run, whose
/// terminal nobody watches.
fn shown(quiet: bool, terminal: bool, ci: bool) -> Shown {
    match (quiet, terminal, ci) {
        (true, _, _) => Shown::Not,
        (false, true, false) => Shown::Drawn,
        (false, true, true) | (false, false, _) => Shown::Lines,
    }
}

/// Shows how far work is. Dropping it takes the bar away.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    output: &'a Output,
    shown: Shown,
    began: Instant,
    told: Instant,
    /// Whether something stands on the terminal's last line.
    drawn: bool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(output: &'a Output, quiet: bool) -> Self {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        let now = Instant::now();
        Self {
            output,
            shown: shown(quiet, std::io::stderr().is_terminal(), ci),
            began: now,
            told: now,
            drawn: false,
        }
    }

    /// Since when.
    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// The work is so far: `what` and, where it is known, the share of the whole that is done. `what` is asked for only
    /// when it is shown.
    pub(super) fn at(&mut self, what: impl FnOnce() -> String, part: Option<f64>) {
        let (every, first) = match self.shown {
            Shown::Drawn => (DRAWINGS, SHORT),
            Shown::Lines => (LINES, LINES),
            Shown::Not => return,
        };
        if self.told.elapsed() < every || self.began.elapsed() < first {
            return;
        }
        self.told = Instant::now();
        match self.shown {
            Shown::Drawn => {
                let line = line(&what(), part, self.began.elapsed(), columns());
                self.output.draw(&line);
                self.drawn = true;
            }
            Shown::Lines => match part {
                Some(part) => self.output.message(&format!("{}, {}", what(), percent(part))),
                None => self.output.message(&what()),
            },
            Shown::Not => {}
        }
    }

    /// Makes room for data or a sentence.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.output.draw("");
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn line(what: &str, part: Option<f64>, took: Duration, columns: usize) -> String {
    let fit = |text: &str| text.chars().take(columns).collect::<String>();
    let Some(part) = part else {
        return fit(what);
    };
    let part = part.clamp(0.0, 1.0);
    // What is left is a guess from what was; too early it is none.
    let left = match part > 0.02 {
        true => {
            let seconds = (took.as_secs_f64() * (1.0 - part) / part) as u64;
            format!(" {}:{:02} left", seconds / 60, seconds % 60)
        }
        false => String::new(),
    };
    let after = format!("{}{left}", percent(part));
    // A blank, brackets and another blank.
    let width = columns.saturating_sub(what.chars().count() + after.chars().count() + 4);
    match width.min(WIDTH) {
        0..SHORTEST => fit(&format!("{what} {after}")),
        width => {
            let full = (part * width as f64) as usize;
            let head = if full < width { ">" } else { "" };
            let bar = format!("{}{head}", "#".repeat(full));
            format!("{what} [{bar:width$}] {after}")
        }
    }
}

/// How much fits on a line of the terminal.
fn columns() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 1 => usize::from(size.ws_col) - 1,
        Ok(_) | Err(_) => 79,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_needs_a_terminal_that_somebody_watches() {
        for (quiet, terminal, ci, expected) in [
            (false, true, false, Shown::Drawn),
            (false, true, true, Shown::Lines),
            (false, false, false, Shown::Lines),
            (false, false, true, Shown::Lines),
            (true, true, false, Shown::Not),
            (true, false, true, Shown::Not),
        ] {
            assert_eq!(shown(quiet, terminal, ci), expected, "{quiet} {terminal} {ci}");
        }
    }

    #[test]
    fn a_bar_says_what_how_far_and_how_long_still() {
        let took = Duration::from_secs(30);
        for (part, columns, expected) in [
            (None, 79, "   Copying"),
            (None, 6, "   Cop"),
            (Some(0.0), 79, "   Copying [>                       ] 0 %"),
            (
                Some(0.25),
                79,
                "   Copying [######>                 ] 25 % 1:30 left",
            ),
            (
                Some(1.0),
                79,
                "   Copying [########################] 100 % 0:00 left",
            ),
            (Some(0.5), 36, "   Copying [####>   ] 50 % 0:30 left"),
            (Some(0.5), 30, "   Copying 50 % 0:30 left"),
            (Some(0.5), 15, "   Copying 50 %"),
        ] {
            let line = line("   Copying", part, took, columns);
            assert_eq!(line, expected, "{columns}");
            assert!(line.len() <= columns);
        }
    }
}
