//! The operator's own probes: `/livez` while its reconciles go on, `/readyz` while the API server answers it.
//!
//! Guarantees: clients that open connections and send nothing keep no probe from being answered. Must not: depend on a
//! step. Start at [`Health`].

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;

/// The most connections that are open at a time. The kubelet needs one.
const CONNECTIONS_MAX: usize = 64;
/// Time limit for a request's headers.
const REQUEST: Duration = Duration::from_secs(10);
/// The delay after a connection that could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(250);

/// The longest time without an answer of the API server in which the operator still counts as ready.
const ANSWER: Duration = Duration::from_secs(30);
/// A reconcile that runs for longer is stuck: it has a deadline, which only a blocked worker can miss.
const STUCK: Duration = Duration::from_secs(120);

/// The answers of the probes. Shared by the driver, which fills it in, and the probes.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listed: AtomicBool,
    last_answer: Mutex<Instant>,
    /// The reconciles that run, by number: when each began.
    running: Mutex<BTreeMap<u64, Instant>>,
    next: AtomicU64,
    ended: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Inner {
            listed: AtomicBool::new(false),
            last_answer: Mutex::new(Instant::now()),
            running: Mutex::default(),
            next: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }))
    }
}

/// A reconcile that runs. It ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Running {
    health: Health,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.health.0.running).remove(&self.number);
        self.health.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Health {
    /// The API server has listed the Registries, or another replica does the work.
    pub(crate) fn set_ready(&self) {
        self.0.listed.store(true, Ordering::Relaxed);
    }

    /// The API server has answered.
    pub(crate) fn answered(&self) {
        *lock(&self.0.last_answer) = Instant::now();
    }

    /// When the API server last answered, or the start.
    #[cfg(test)]
    pub(crate) fn last_answer(&self) -> Instant {
        *lock(&self.0.last_answer)
    }

    /// The time since the API server last answered, or since the start.
    pub(crate) fn since_last_answer(&self) -> Duration {
        lock(&self.0.last_answer).elapsed()
    }

    /// A reconcile begins.
    pub(crate) fn reconciling(&self) -> Running {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.0.running).insert(number, Instant::now());
        Running {
            health: self.clone(),
            number,
        }
    }

    /// The number of reconciles that have ended.
    pub fn reconciles(&self) -> u64 {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// Whether the operator can do its work: the API server has listed the Registries and still answers.
    pub fn is_ready(&self) -> bool {
        self.readiness(Instant::now()).is_ok()
    }

    fn readiness(&self, now: Instant) -> Result<(), String> {
        if !self.0.listed.load(Ordering::Relaxed) {
            return Err("the API server has not listed the Registries yet".to_owned());
        }
        let quiet = now.saturating_duration_since(*lock(&self.0.last_answer));
        if quiet > ANSWER {
            return Err(format!(
                "the API server has not answered for {} s",
                quiet.as_secs()
            ));
        }
        Ok(())
    }

    /// Whether the process works. A restart does not bring back an API server, so this is not about it.
    fn liveness(&self, now: Instant) -> Result<(), String> {
        let longest = lock(&self.0.running)
            .values()
            .min()
            .map(|first| now.saturating_duration_since(*first));
        match longest {
            Some(longest) if longest > STUCK => {
                Err(format!("a reconcile has been stuck for {} s", longest.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// Answers probes at `address` in the background, for as long as the process runs.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn serve(&self, address: SocketAddr) -> anyhow::Result<()> {
        let listener = listen(address).with_context(|| format!("cannot listen on {address} for probes"))?;
        tokio::spawn(self.clone().answer_on(listener));
        Ok(())
    }

    async fn answer_on(self, listener: TcpListener) {
        let mut answering: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            // Clients that open connections and send nothing lose the oldest one.
            if answering.len() >= CONNECTIONS_MAX
                && let Some(oldest) = answering.pop_front()
            {
                oldest.abort();
            }
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The failure is one client's, or the process has no file descriptor left. In the second case accepting
                // again at once would only use up the CPU.
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection of a probe");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            let health = self.clone();
            let task = tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let response = health.answer(&request);
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection of a probe broke");
                }
            });
            answering.push_back(task.abort_handle());
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let said = match request.uri().path() {
            "/livez" => self.liveness(Instant::now()),
            "/readyz" => self.readiness(Instant::now()),
            _ => {
                let text = "only /livez and /readyz are here";
                return response(StatusCode::NOT_FOUND, text);
            }
        };
        match said {
            Ok(()) => response(StatusCode::OK, "ok"),
            Err(sentence) => response(StatusCode::SERVICE_UNAVAILABLE, &sentence),
        }
    }
}

fn response(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
    *response.status_mut() = status;
    response
}

/// Listens on `address`. `[::]` takes IPv4 too, whatever the node's default is; a node without IPv6 has `0.0.0.0` for
/// it.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if address.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    match bind(address) {
        Err(error) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            // The first error says more when IPv4 does not help either.
            bind(ipv4).map_err(|_| error)
        }
        other => other,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves a whole value behind, even one that panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn an_api_server_that_no_longer_answers_makes_the_operator_unready_and_no_less_alive() {
        let health = Health::default();
        assert!(!health.is_ready(), "nothing is listed yet");
        health.set_ready();
        assert!(health.is_ready());
        let later = Instant::now() + ANSWER + Duration::from_secs(1);
        let sentence = "the API server has not answered for 31 s".to_owned();
        assert_eq!(health.readiness(later), Err(sentence));
        assert_eq!(health.liveness(later), Ok(()));
        *lock(&health.0.last_answer) = later;
        assert_eq!(health.readiness(later), Ok(()));
    }

    #[test]
    fn a_reconcile_that_misses_its_deadline_makes_the_operator_count_as_dead() {
        let health = Health::default();
        let running = health.reconciling();
        assert_eq!(health.liveness(Instant::now() + STUCK / 2), Ok(()));
        let later = Instant::now() + STUCK + Duration::from_secs(1);
        let sentence = "a reconcile has been stuck for 121 s".to_owned();
        assert_eq!(health.liveness(later), Err(sentence));
        drop(running);
        assert_eq!(health.liveness(later), Ok(()));
        assert_eq!(health.reconciles(), 1);
    }

    #[tokio::test]
    async fn probes_are_answered_over_ipv4_and_ipv6() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let loopbacks = match listener.local_addr().unwrap() {
            SocketAddr::V6(_) => vec!["127.0.0.1", "::1"],
            SocketAddr::V4(_) => vec!["127.0.0.1"],
        };
        for loopback in loopbacks {
            let address: IpAddr = loopback.parse().unwrap();
            let connected = TcpStream::connect((address, port)).await;
            assert!(connected.is_ok(), "{loopback}: {connected:?}");
        }
    }

    #[tokio::test]
    async fn connections_that_say_nothing_keep_no_probe_from_being_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(Health::default().answer_on(listener));
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // The oldest one is gone, whether it reads that as an end or as a reset.
        assert!(matches!(silent[0].read(&mut [0; 1]).await, Ok(0) | Err(_)));
        serving.abort();
    }
}
