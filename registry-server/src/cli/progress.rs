//! The progress of long commands: a bar on a terminal, a line every ten seconds elsewhere.
//!
//! Guarantees: a bar never overwrites data or a message, and is gone when the work is done. Work of less than a second
//! has no bar. A percentage is shown only if the total is known.
//!
//! Our own rather than `indicatif`; ADR 0023 says why.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use super::output::Output;

/// The time between two lines, where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The time between two drawings of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Work that takes less time has no bar.
const SHORT_WORK: Duration = Duration::from_secs(1);
/// The width of the bar on a terminal that is wide enough.
const WIDTH: usize = 24;
/// The smallest width of a bar. A terminal with less room shows the percentage alone.
const MIN_WIDTH: usize = 5;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Bar,
    Lines,
    Hidden,
}

/// The style for a command: `quiet` hides progress, and a bar needs a terminal that somebody watches. Nobody watches the
/// terminal of a CI run.
fn style(quiet: bool, terminal: bool, ci: bool) -> Style {
    match (quiet, terminal, ci) {
        (true, _, _) => Style::Hidden,
        (false, true, false) => Style::Bar,
        (false, true, true) | (false, false, _) => Style::Lines,
    }
}

/// Shows the progress of a command. Dropping it removes the bar.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    output: &'a Output,
    style: Style,
    began: Instant,
    last_shown: Instant,
    /// Whether a bar is on the last line of the terminal.
    drawn: bool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(output: &'a Output, quiet: bool) -> Self {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        let now = Instant::now();
        Self {
            output,
            style: style(quiet, std::io::stderr().is_terminal(), ci),
            began: now,
            last_shown: now,
            drawn: false,
        }
    }

    /// The time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Shows a message and the finished fraction of the work, if that is known. `message` is called only if it is shown.
    pub(super) fn update(&mut self, message: impl FnOnce() -> String, fraction: Option<f64>) {
        let (every, first) = match self.style {
            Style::Bar => (DRAW_EVERY, SHORT_WORK),
            Style::Lines => (LINE_EVERY, LINE_EVERY),
            Style::Hidden => return,
        };
        if self.last_shown.elapsed() < every || self.began.elapsed() < first {
            return;
        }
        self.last_shown = Instant::now();
        match self.style {
            Style::Bar => {
                let line = line(&message(), fraction, self.began.elapsed(), columns());
                self.output.draw(&line);
                self.drawn = true;
            }
            Style::Lines => match fraction {
                Some(fraction) => self
                    .output
                    .message(&format!("{}, {}", message(), percent(fraction))),
                None => self.output.message(&message()),
            },
            Style::Hidden => {}
        }
    }

    /// Removes the bar, so that data or a message can be printed.
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

fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

/// The line of a bar, as wide as the terminal allows.
fn line(message: &str, fraction: Option<f64>, elapsed: Duration, columns: usize) -> String {
    let fit = |text: &str| text.chars().take(columns).collect::<String>();
    let Some(fraction) = fraction else {
        return fit(message);
    };
    let fraction = fraction.clamp(0.0, 1.0);
    // The remaining time is a guess from the elapsed time. In the first 2 % the guess is worth nothing.
    let left = match fraction > 0.02 {
        true => {
            let seconds = (elapsed.as_secs_f64() * (1.0 - fraction) / fraction) as u64;
            format!(" {}:{:02} left", seconds / 60, seconds % 60)
        }
        false => String::new(),
    };
    let after = format!("{}{left}", percent(fraction));
    // The 4 are the brackets and the blanks around them.
    let width = columns.saturating_sub(message.chars().count() + after.chars().count() + 4);
    match width.min(WIDTH) {
        0..MIN_WIDTH => fit(&format!("{message} {after}")),
        width => {
            let full = (fraction * width as f64) as usize;
            let head = if full < width { ">" } else { "" };
            let bar = format!("{}{head}", "#".repeat(full));
            format!("{message} [{bar:width$}] {after}")
        }
    }
}

/// The number of columns of the terminal, less one: a full last column would wrap the line.
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
            (false, true, false, Style::Bar),
            (false, true, true, Style::Lines),
            (false, false, false, Style::Lines),
            (false, false, true, Style::Lines),
            (true, true, false, Style::Hidden),
            (true, false, true, Style::Hidden),
        ] {
            assert_eq!(style(quiet, terminal, ci), expected, "{quiet} {terminal} {ci}");
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
