//! Liveness, readiness, and whether the server answers requests at all.
//!
//! Guarantees: a failing store makes the server unready but never dead, so that not all replicas are restarted because a
//! disk is slow. A failing check of `health.file`, `health.http` or `health.tcp` takes the server out of service, as in
//! distribution: every request is refused. `POST /debug/health/down` does the same; distribution has it in its library and in
//! neither of its programs. Probes are cheap and need no login. Every check is bounded in time, and the server is back in
//! service by itself when the check succeeds again. Readiness fails as soon as the server is asked to stop.
//! Must not: tell a client the reason. Start at [`Health`]; `check` runs one check, `probes` answers `http.debug.addr`.

mod check;
mod probes;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use check::Effect;
pub use check::{Check, Error};
pub use probes::Probes;

use crate::storage::StoreHealth;

/// The health of this server. Cheap to clone; all clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    draining: Arc<AtomicBool>,
    /// The server was taken out of service by `POST /debug/health/down`.
    down: AtomicBool,
    /// The number of failing checks that take the server out of service.
    refusing: AtomicUsize,
    /// The problems, by the name of the check.
    troubles: Mutex<BTreeMap<String, String>>,
    /// The health of the store's writes, and the name under which it is reported.
    writes: OnceLock<(String, StoreHealth)>,
}

impl Health {
    /// The flag that is set when the server stops.
    pub fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.draining)
    }

    /// Whether every request is refused. It is called for every request and costs one or two atomic loads.
    pub fn is_out_of_service(&self) -> bool {
        self.0.down.load(Ordering::Relaxed) || self.0.refusing.load(Ordering::Relaxed) > 0
    }

    /// Takes the server out of service by hand, or puts it back.
    fn set_down(&self, down: bool) {
        if self.0.down.swap(down, Ordering::Relaxed) != down {
            match down {
                true => tracing::warn!("taken out of service by `POST /debug/health/down`"),
                false => tracing::info!("back in service by `POST /debug/health/up`"),
            }
        }
    }

    /// From now on, a store that takes no writes makes the server unready, under the name of the store's check. No write
    /// is made to find that out: heartbeats of the server and pushes show it. The store's driver logs it.
    pub fn watch_writes(&self, driver: &str, store_health: StoreHealth) {
        // There is one storage.
        let _ = self.0.writes.set((check::of_storage(driver), store_health));
    }

    /// Takes the server out of service for a reason that is no check, until [`Health::end_refusal`] is called.
    pub fn refuse(&self, name: &str, trouble: String) {
        if self.troubles().insert(name.to_owned(), trouble.clone()).is_none() {
            self.0.refusing.fetch_add(1, Ordering::Relaxed);
            tracing::error!(name, trouble, "every request is refused");
        }
    }

    /// Puts the server back into service.
    pub fn end_refusal(&self, name: &str) {
        if self.troubles().remove(name).is_some() {
            self.0.refusing.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(name, "requests are answered again");
        }
    }

    /// Runs a check at its interval for ever, the first time at once. Dropping the future stops the check and changes
    /// nothing else.
    pub async fn follow(self, mut check: Check) -> Infallible {
        let mut tick = tokio::time::interval(check.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failures = 0;
        loop {
            tick.tick().await;
            let seen = check.look().await;
            self.note(&check, &mut failures, seen);
        }
    }

    /// Counts the result of one run of a check.
    fn note(&self, check: &Check, failures: &mut u32, seen: Result<(), String>) {
        let name = check.name.as_str();
        let mut troubles = self.troubles();
        let Err(trouble) = seen else {
            *failures = 0;
            if troubles.remove(name).is_some() {
                if check.effect == Effect::OutOfService {
                    self.0.refusing.fetch_sub(1, Ordering::Relaxed);
                }
                tracing::info!(check = name, "health check succeeds again");
            }
            return;
        };
        *failures = failures.saturating_add(1);
        if *failures < check.threshold {
            return;
        }
        if troubles.insert(name.to_owned(), trouble.clone()).is_none() {
            match check.effect {
                Effect::Unready => {
                    tracing::error!(check = name, trouble, "health check fails: the server is unready")
                }
                Effect::OutOfService => {
                    self.0.refusing.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        check = name,
                        trouble,
                        "health check fails: every request is refused"
                    );
                }
            }
        }
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All problems: the name of the check and a sentence.
    fn all(&self) -> BTreeMap<String, String> {
        let mut all = self.troubles().clone();
        if let Some((check, store_health)) = self.0.writes.get()
            && let Some(why) = store_health.problem()
        {
            // The check's own problem, that the store does not answer, is the worse of the two.
            all.entry(check.clone()).or_insert_with(|| why.to_owned());
        }
        if self.0.down.load(Ordering::Relaxed) {
            // Distribution's name and words.
            all.insert("manual_http_status".to_owned(), "manual Check".to_owned());
        }
        if self.0.draining.load(Ordering::Relaxed) {
            all.insert("draining".to_owned(), "the server is stopping".to_owned());
        }
        all
    }
}

#[cfg(test)]
mod tests;
