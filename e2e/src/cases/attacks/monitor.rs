//! Monitors a server during an attack: its memory, and the answers to a probe about twenty times a second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::server::Server;

/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// A probe that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30);
/// Time limit for the memory to shrink after the attack.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);
/// The memory has shrunk when it is at most this much above its value before.
const SETTLED_WITHIN: u64 = 8_000_000;

/// The result of one attack.
pub(super) struct AttackResult {
    before: u64,
    pub(super) peak: u64,
    after: u64,
    /// The time of each probe, the fastest first.
    probes: Vec<Duration>,
    failed: usize,
    note: String,
    /// Failures other than memory.
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

    /// A quantile of the probes' times, in milliseconds.
    fn quantile(&self, percent: usize) -> f64 {
        let last = self.probes.len().saturating_sub(1);
        let at = (self.probes.len() * percent / 100).min(last);
        self.probes
            .get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }
}

/// The monitor of an attack under way.
pub(super) struct Monitor<'a> {
    server: &'a Server,
    before: u64,
    over: Arc<AtomicBool>,
    probes: JoinHandle<(Vec<Duration>, usize)>,
}

impl<'a> Monitor<'a> {
    /// Begins to measure.
    ///
    /// # Errors
    /// The server is gone.
    pub(super) fn begin(server: &'a Server) -> Result<Self> {
        let address = server.address()?;
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        // The peak before this moment does not count.
        server.forget_peak_memory()?;
        let before = server.memory()?;
        // The probes have a thread of their own, so that a busy attacker does not make the server look slow.
        let probes = std::thread::spawn(move || probe(address, &stop));
        Ok(Self {
            server,
            before,
            over,
            probes,
        })
    }

    /// Ends the measurement, after everything that attacked was dropped. `note` and `faults` come from the attack.
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

/// Probes until `over`. Gives the time of each answer, and the number of failures.
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

/// Sends one `GET /v2/` and reads any answer. Keeps the connection.
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
