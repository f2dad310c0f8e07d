//! A stream that is written by a thread of its own, so that nobody waits for whoever reads it.
//!
//! Guarantees: a line is taken at once, whatever the reader does; lines keep their order and are never mixed or
//! torn; memory is bounded. When nobody reads for so long that [`CAPACITY`] is full, new lines are left out and
//! counted, and a line says how many as soon as somebody reads again: a log that is late is worth less than a
//! registry that answers.
//! Must not: keep the process alive. What a killed process had not written yet is lost; [`Sink::flush`] is for its
//! orderly end.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// How many bytes may wait. Twice as many may exist: those being written, and those that wait meanwhile.
const CAPACITY: usize = 1 << 20;

/// Takes lines. A clone is another handle of the same stream.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// All lines ever left out.
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines left out and not told yet.
    dropped: u64,
    /// The thread has taken lines that are not written yet.
    writing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// A stream; the name is told with the lines that were left out, and the counter counts them.
    ///
    /// # Errors
    /// The operating system gives no thread.
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

    /// Takes whole lines, each with its end.
    pub fn line(&self, line: &str) {
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

    /// Waits until everything is written, but not longer than this.
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

/// Writes for ever.
fn write(name: &'static str, shared: &Shared, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        let mut state = shared.lock();
        state.writing = false;
        shared.changed.notify_all();
        while state.waiting.is_empty() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // The two buffers change places, so that nothing is allocated once both are large enough.
        std::mem::swap(&mut lines, &mut state.waiting);
        state.writing = true;
        drop(state);
        // A reader who went away is not an error, and there is nobody left to tell.
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

    /// A reader that reads when it is told to.
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
        sink.line("first\n");
        // Until the thread holds it, so that the rest is what waits.
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
            sink.line(&line);
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
            "told, and counted for good"
        );
        sink.line("last\n");
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), "last\n");
    }
}
