//! A stream of log lines with a thread of its own, so that no request waits for the reader of the stream.
//!
//! Guarantees: a line is accepted at once, whatever the reader does. Lines keep their order and stay whole. Memory is
//! bounded: when the reader is so late that [`CAPACITY`] is full, new lines are dropped and counted, and a line gives the
//! number as soon as the reader goes on. A registry that answers is worth more than a complete log.
//! Must not: keep the process alive. A killed process loses the lines that it had not written yet; [`Sink::flush`] is for
//! an orderly end.
//!
//! Our own rather than `tracing-appender`, whose queue is limited by the number of lines and not by their bytes.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// The limit for waiting bytes. A sink holds at most twice as many: one buffer is written while the other one fills.
const CAPACITY: usize = 1 << 20;

/// A stream of log lines. A clone is another handle of the same stream.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The metric of all dropped lines.
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The number of dropped lines that no line has reported yet.
    dropped: u64,
    /// Whether the thread has taken lines that are not written yet.
    writing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Starts the thread that writes to `out`. The report of dropped lines gives the `name`; `dropped` counts them.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn new(
        name: &'static str,
        out: impl Write + Send + 'static,
        dropped: Counter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped,
        });
        let sink = Self(Arc::clone(&shared));
        std::thread::Builder::new()
            .name(format!("write {name}"))
            .spawn(move || write(name, &shared, out))?;
        Ok(sink)
    }

    /// Adds one or more whole lines, line feeds included. Never waits.
    pub fn write_line(&self, line: &str) {
        let mut state = self.0.lock();
        if state.waiting.len() + line.len() > CAPACITY {
            state.dropped += 1;
            self.0.dropped.inc();
            return;
        }
        let asleep = state.waiting.is_empty() && !state.writing;
        state.waiting.extend_from_slice(line.as_bytes());
        drop(state);
        if asleep {
            self.0.changed.notify_all();
        }
    }

    /// Waits until everything is written, at most for `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.0.lock();
        while !state.waiting.is_empty() || state.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Writes lines for ever: the thread of a sink.
fn write(name: &'static str, shared: &Shared, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        let mut state = shared.lock();
        state.writing = false;
        shared.changed.notify_all();
        while state.waiting.is_empty() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // The two buffers change places: once both are large enough, nothing is allocated.
        std::mem::swap(&mut lines, &mut state.waiting);
        state.writing = true;
        drop(state);
        // A reader that closed the stream is not an error, and nobody is left to report it to.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
        lines.clear();
        let dropped = std::mem::take(&mut shared.lock().dropped);
        if dropped > 0 {
            tracing::warn!(
                stream = name,
                lines = dropped,
                "lines were left out, because nobody read them in time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that reads when the test lets it.
    struct Reader {
        go: mpsc::Receiver<()>,
        got: mpsc::Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            let _ = self.got.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_lines_without_room_are_counted() {
        let (go, may_go) = mpsc::channel();
        let (got, written) = mpsc::channel();
        let dropped = Counter::default();
        let sink = Sink::new("test", Reader { go: may_go, got }, dropped.clone()).unwrap();
        sink.write_line("first\n");
        // Waits until the thread has taken the first line, so that only the others wait.
        loop {
            let state = sink.0.lock();
            if state.writing && state.waiting.is_empty() {
                break;
            }
            drop(state);
            std::thread::yield_now();
        }
        let line = "x".repeat(1023) + "\n";
        for _ in 0..CAPACITY / line.len() + 7 {
            sink.write_line(&line);
        }
        {
            let state = sink.0.lock();
            assert_eq!((state.waiting.len(), state.dropped), (CAPACITY, 7));
        }
        sink.flush(Duration::ZERO);
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), "first\n");
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), line.repeat(CAPACITY / line.len()));
        sink.flush(Duration::from_secs(60));
        assert_eq!(
            (sink.0.lock().dropped, dropped.get()),
            (0, 7),
            "reported, and counted in the metric"
        );
        sink.write_line("last\n");
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), "last\n");
    }
}
