//! How the tasks and the suite talk: steps with name, progress and time, on standard error.
//!
//! Guarantees: on a terminal one line per running step, redrawn at most five times a second and gone when done;
//! elsewhere a plain line every ten seconds; the same line at the end either way. Standard output stays free for
//! results. Must not: decide anything. Start at [`Output::step`].

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Where the talk goes.
#[derive(Clone, Debug)]
pub struct Output {
    draw: bool,
    colour: bool,
    log: Arc<Mutex<Vec<(String, Duration)>>>,
}

/// A running step; takes notes of what it is at.
#[derive(Clone, Debug, Default)]
pub struct Step {
    note: Arc<Mutex<String>>,
}

impl Step {
    /// Says what the step is at; shown while it runs.
    pub fn note(&self, text: impl Into<String>) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    fn current(&self) -> String {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    /// Looks at standard error, `CI` and `NO_COLOR` once.
    #[must_use]
    pub fn new() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = std::io::stderr().is_terminal();
        Self {
            draw: draws(terminal, set("CI")),
            colour: terminal && !set("NO_COLOR"),
            log: Arc::default(),
        }
    }

    /// Runs one step and prints its line. `verb` says what is done, `what` to what.
    ///
    /// # Errors
    /// Those of the step, unchanged; its line then says `Failed`.
    pub async fn step<T>(
        &self,
        verb: &str,
        what: &str,
        work: impl AsyncFnOnce(Step) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let step = Step { note: Arc::default() };
        let working = work(step.clone());
        tokio::pin!(working);
        let pause = if self.draw {
            Duration::from_millis(200)
        } else {
            Duration::from_secs(10)
        };
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
        let result = loop {
            tokio::select! {
                result = &mut working => break result,
                _ = ticks.tick() => self.progress(verb, what, start.elapsed(), &step.current()),
            }
        };
        let time = start.elapsed();
        self.clear();
        let shown = if result.is_ok() { verb } else { "Failed" };
        self.line(shown, &format!("{what}  {}", seconds(time)), result.is_ok());
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((format!("{verb} {what}"), time));
        result
    }

    /// Every step that ended so far, with its time.
    #[must_use]
    pub fn times(&self) -> Vec<(String, Duration)> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One line that is no step.
    pub fn say(&self, verb: &str, what: &str) {
        self.line(verb, what, true);
    }

    /// Text as it is, for lists and quoted logs.
    pub fn text(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// An error with its causes, and what the reader can do next.
    pub fn error(&self, error: &anyhow::Error) {
        let mut text = format!("{} {error}\n", self.paint("error:", Colour::Red));
        let mut last = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // A hint repeats the text of the error it stands on.
            if cause != last {
                text.push_str(&format!("  caused by: {cause}\n"));
            }
            last = cause;
        }
        let hint = error.downcast_ref::<Hint>();
        if let Some(hint) = hint {
            text.push_str(&format!(
                "\n{} {}\n",
                self.paint("hint:", Colour::Cyan),
                hint.way_out
            ));
        }
        self.write(&text);
    }

    fn progress(&self, verb: &str, what: &str, time: Duration, note: &str) {
        let note = if note.is_empty() {
            String::new()
        } else {
            format!("  {note}")
        };
        let line = format!("{verb:>12} {what}  {} s{note}", time.as_secs());
        if self.draw {
            // One row only: a wrapped line could not be taken back.
            let short: String = line.chars().take(100).collect();
            self.write(&format!("\r\x1b[K{short}"));
        } else {
            self.write(&format!("{line}\n"));
        }
    }

    fn clear(&self) {
        if self.draw {
            self.write("\r\x1b[K");
        }
    }

    fn line(&self, verb: &str, what: &str, good: bool) {
        let verb = format!("{verb:>12}");
        self.write(&format!(
            "{} {what}\n",
            self.paint(&verb, if good { Colour::Green } else { Colour::Red })
        ));
    }

    fn paint(&self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::Green => 32,
            Colour::Red => 31,
            Colour::Cyan => 36,
        };
        if self.colour {
            format!("\x1b[1;{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn write(&self, text: &str) {
        // A closed pipe is the reader's choice.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

enum Colour {
    Green,
    Red,
    Cyan,
}

/// What the reader can do about an error; attach it with [`Hint::on`].
#[derive(Debug)]
pub struct Hint {
    way_out: String,
    error: String,
}

impl Hint {
    /// The error with a way out, which is printed apart from it.
    #[must_use]
    pub fn on(error: anyhow::Error, way_out: impl Into<String>) -> anyhow::Error {
        let text = error.to_string();
        error.context(Hint {
            way_out: way_out.into(),
            error: text,
        })
    }
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error)
    }
}

/// Whether to redraw a line: only where a person watches.
fn draws(terminal: bool, ci: bool) -> bool {
    terminal && !ci
}

/// Tenths below a minute, whole seconds above.
#[must_use]
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_redrawn_only_on_a_terminal_outside_ci() {
        for (terminal, ci, expected) in [
            (true, false, true),
            (true, true, false),
            (false, false, false),
            (false, true, false),
        ] {
            assert_eq!(draws(terminal, ci), expected, "terminal {terminal}, ci {ci}");
        }
    }

    #[test]
    fn a_hint_is_kept_apart_from_the_error() {
        let error = Hint::on(
            anyhow::anyhow!("disk full").context("cannot write"),
            "free some space",
        );
        assert_eq!(error.to_string(), "cannot write");
        assert_eq!(error.downcast_ref::<Hint>().unwrap().way_out, "free some space");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
