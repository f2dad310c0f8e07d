//! The operator's own probes: `/livez` while its reconciles go on, `/readyz` while the API server answers it.
//!
//! Must not: depend on a step. Start at [`Health`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use hyper::body::Incoming;

use crate::http_server::{self, Answer, answer};

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
        let health = self.clone();
        let answer = move |request: Request<Incoming>| std::future::ready(health.answer(&request));
        http_server::serve(address, "probes", answer).map(drop)
    }

    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let said = match request.uri().path() {
            "/livez" => self.liveness(Instant::now()),
            "/readyz" => self.readiness(Instant::now()),
            _ => {
                let text = "only /livez and /readyz are here";
                return answer(StatusCode::NOT_FOUND, text);
            }
        };
        match said {
            Ok(()) => answer(StatusCode::OK, "ok"),
            Err(sentence) => answer(StatusCode::SERVICE_UNAVAILABLE, sentence),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves a whole value behind, even one that panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
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
}
