//! A server while it is attacked: its memory, and a client that only wants an answer, about twenty times a second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::server::Server;

/// Between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// A probe that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30);
/// How long the memory has to go back.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);
/// What memory that went back may be above what it was before.
const SETTLED_WITHIN: u64 = 8_000_000;

/// What one attack did.
pub(super) struct AttackResult {
    before: u64,
    pub(super) peak: u64,
    after: u64,
    /// How long each probe took, the fastest first.
    probes: Vec<Duration>,
    failed: usize,
    note: String,
    /// What should not have been, besides memory.
    pub(super) faults: Vec<String>,
}

impl AttackResult {
    pub(super) const HEAD: &str = "attack                                          before    peak   after    p50    p99  lost  \
                                   (MB, MB, MB, ms, ms, probes)";

    pub(super) fn line(&self, name: &str) -> String {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "{name:<46} {:>7.1} {:>7.1} {:>7.1} {:>6.1} {:>6.1} {:>5}  {}",
            megabytes(self.before),
            megabytes(self.peak),
            megabytes(self.after),
            self.quantile(50),
            self.quantile(99),
            self.failed,
            self.note
        )
    }

    /// In milliseconds.
    fn quantile(&self, percent: usize) -> f64 {
        let last = self.probes.len().saturating_sub(1);
        let at = (self.probes.len() * percent / 100).min(last);
        self.probes
            .get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }
}

/// An attack that is under way.
pub(super) struct Monitor<'a> {
    server: &'a Server,
    before: u64,
    over: Arc<AtomicBool>,
    probes: JoinHandle<(Vec<Duration>, usize)>,
}

impl<'a> Monitor<'a> {
    /// Begins to look.
    ///
    /// # Errors
    /// The server is gone.
    pub(super) fn begin(server: &'a Server) -> Result<Self> {
        let address = server.address()?;
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        // What there was before this does not count.
        server.forget_peak_memory()?;
        let before = server.memory()?;
        // A thread: a busy attacker must not make the server look slow.
        let probes = std::thread::spawn(move || probe(address, &stop));
        Ok(Self {
            server,
            before,
            over,
            probes,
        })
    }

    /// Ends, when everything that attacked was dropped. `note` and `faults` are what the attack has to say itself.
    ///
    /// # Errors
    /// The server is gone.
    pub(super) async fn end(self, note: String, faults: Vec<String>) -> Result<AttackResult> {
        let quiet = Instant::now();
        while self.server.memory()? > self.before + SETTLED_WITHIN && quiet.elapsed() < SETTLE_LIMIT {
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        self.over.store(true, Ordering::Relaxed);
        let (mut probes, failed) = tokio::task::spawn_blocking(move || self.probes.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the probes ended early"))?;
        probes.sort();
        Ok(AttackResult {
            before: self.before,
            peak: self.server.peak_memory()?,
            after: self.server.memory()?,
            probes,
            failed,
            note,
            faults,
        })
    }
}

/// Asks until it is over; how long each answer took, and how many there were not.
fn probe(address: SocketAddr, over: &AtomicBool) -> (Vec<Duration>, usize) {
    let mut connection = None;
    let (mut took, mut failed) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answered = match connection.take() {
            Some(stream) => Ok(stream),
            None => TcpStream::connect(address).context("cannot connect"),
        }
        .and_then(ask);
        match answered {
            Ok(stream) => {
                took.push(begun.elapsed());
                connection = Some(stream);
            }
            Err(_) => failed += 1,
        }
        std::thread::sleep(PROBE_INTERVAL.saturating_sub(begun.elapsed()));
    }
    (took, failed)
}

/// One `GET /v2/`, whatever the answer, with the connection kept.
fn ask(mut stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: probe.example\r\n\r\n")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    ensure!(!head.starts_with("http/1.1 5"), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .context("no length")?
        .trim()
        .parse()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(stream)
}
