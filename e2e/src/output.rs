//! The output of the tasks and the suite on standard error: steps with name, progress and time.
//!
//! Guarantees: on a terminal one line for the steps that run, redrawn at most five times a second and gone when done;
//! elsewhere a plain line every ten seconds; the same line at the end either way. The lines of one step stand together, also
//! when others run beside it. Standard output stays free for results. Must not: decide anything. Start at [`Output::step`].

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Standard error, with or without drawing and colour.
#[derive(Clone, Debug)]
pub struct Output {
    draw: bool,
    colour: bool,
    log: Arc<Mutex<Vec<Timed>>>,
    /// Every step that runs, in the order in which they began.
    running: Arc<Mutex<Vec<Running>>>,
    /// Text that waits for [`Output::release`].
    held: Option<Arc<Mutex<String>>>,
}

/// A step that ended, for the lists of what took longest.
#[derive(Clone, Debug)]
pub struct Timed {
    /// A verb: `Building`, `Running`.
    pub verb: String,
    /// The object of the verb.
    pub what: String,
    /// The time from its begin to its end.
    pub time: Duration,
}

#[derive(Clone, Debug)]
struct Running {
    verb: String,
    what: String,
    start: Instant,
    step: Step,
}

/// A running step and a note of its progress.
#[derive(Clone, Debug, Default)]
pub struct Step {
    note: Arc<Mutex<String>>,
}

impl Step {
    /// Sets the note, which is shown while the step runs.
    pub fn note(&self, text: impl Into<String>) {
        *lock(&self.note) = text.into();
    }

    fn current(&self) -> String {
        lock(&self.note).clone()
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.note, &other.note)
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
            running: Arc::default(),
            held: None,
        }
    }

    /// The same output for one of several steps that run side by side: its text is kept back until [`Output::release`], so
    /// that the lines of one step stand together.
    #[must_use]
    pub fn hold(&self) -> Self {
        Self {
            held: Some(Arc::default()),
            ..self.clone()
        }
    }

    /// Prints the text that was kept back.
    pub fn release(&self) {
        if let Some(held) = &self.held {
            let text = std::mem::take(&mut *lock(held));
            self.clear();
            print(&text);
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
        let step = Step::default();
        lock(&self.running).push(Running {
            verb: verb.to_owned(),
            what: what.to_owned(),
            start,
            step: step.clone(),
        });
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
                _ = ticks.tick() => self.progress(&step),
            }
        };
        let time = start.elapsed();
        lock(&self.running).retain(|running| !running.step.is(&step));
        self.clear();
        let shown = if result.is_ok() { verb } else { "Failed" };
        self.line(shown, &format!("{what}  {}", seconds(time)), result.is_ok());
        lock(&self.log).push(Timed {
            verb: verb.to_owned(),
            what: what.to_owned(),
            time,
        });
        result
    }

    /// Every step that ended so far, with its time.
    #[must_use]
    pub fn times(&self) -> Vec<Timed> {
        lock(&self.log).clone()
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

    /// One line for everything that runs, drawn by the step that began first.
    fn progress(&self, step: &Step) {
        let line = {
            let running = lock(&self.running);
            if !running.first().is_some_and(|first| first.step.is(step)) {
                return;
            }
            progress_line(&running)
        };
        if self.draw {
            // One row only: a wrapped line could not be taken back.
            let short: String = line.chars().take(100).collect();
            print(&format!("\r\x1b[K{short}"));
        } else {
            print(&format!("{line}\n"));
        }
    }

    fn clear(&self) {
        if self.draw {
            print("\r\x1b[K");
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
        match &self.held {
            Some(held) => lock(held).push_str(text),
            None => print(text),
        }
    }
}

fn print(text: &str) {
    // A closed pipe is the reader's choice.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One step in full, or several in short.
fn progress_line(running: &[Running]) -> String {
    if let [only] = running {
        let note = only.step.current();
        let gap = if note.is_empty() { "" } else { "  " };
        let seconds = only.start.elapsed().as_secs();
        return format!("{:>12} {}  {seconds} s{gap}{note}", only.verb, only.what);
    }
    let short = |running: &Running| {
        let start: String = running.what.chars().take(40).collect();
        format!("{start} {} s", running.start.elapsed().as_secs())
    };
    let all: Vec<String> = running.iter().map(short).collect();
    format!("{:>12} {}", "Running", all.join(" | "))
}

enum Colour {
    Green,
    Red,
    Cyan,
}

/// A way out of an error, attached with [`Hint::on`].
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
    fn several_steps_share_one_line_of_progress() {
        let running = |what: &str, note: &str| {
            let step = Step::default();
            step.note(note);
            Running {
                verb: "Building".into(),
                what: what.into(),
                start: Instant::now(),
                step,
            }
        };
        let one = [running("the operator", "crate 3")];
        assert_eq!(progress_line(&one), "    Building the operator  0 s  crate 3");
        let two = [running("the operator", "crate 3"), running("the server", "")];
        assert_eq!(
            progress_line(&two),
            "     Running the operator 0 s | the server 0 s"
        );
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
