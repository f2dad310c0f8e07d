//! Whether the process is alive, whether it should get requests, and whether it may answer them.
//!
//! Guarantees: trouble with the storage makes the server unready and never dead, so that nobody restarts all
//! replicas because a disk is slow; a check of `health.file`, `health.http` or `health.tcp` that fails takes the
//! server out of service as in distribution: every request is refused; so does `POST /debug/health/down`, which
//! distribution has in its library and in neither of its programs; asking costs nothing and needs no login; every
//! check is bounded in time, and the server comes back by itself when the check succeeds again; readiness fails as
//! soon as a stop is asked for.
//! Must not: tell a client what is wrong. Start at [`Health`]; `check` is one look, `probes` what `http.debug.addr`
//! answers.

mod check;
mod probes;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use check::{Check, Error};
pub use probes::Probes;

use crate::storage::StoreHealth;

/// What is known of this server. Cheap to clone; clones are the same knowledge.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    draining: Arc<AtomicBool>,
    /// `POST /debug/health/down` was the last word.
    down: AtomicBool,
    /// How many checks fail that take the server out of service.
    refusing: AtomicUsize,
    /// What is wrong, by the check's name.
    troubles: Mutex<BTreeMap<String, String>>,
    /// Under which name it is told that the storage takes no writes.
    writes: OnceLock<(String, StoreHealth)>,
}

/// What a failing check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// `/readyz` fails.
    Unready,
    /// And every request is refused.
    OutOfService,
}

impl Health {
    /// The flag that is set when the server stops.
    pub fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.draining)
    }

    /// Whether no request may be answered. One load or two: it is asked for every request.
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

    /// Tells that the storage takes no writes, from now on, under the name of its check. Nothing is written for that:
    /// every server that may write gives a sign of itself from time to time, and pushes show the rest. It is logged
    /// where it is noticed.
    pub fn watch_writes(&self, driver: &str, store_health: StoreHealth) {
        // There is one storage.
        let _ = self.0.writes.set((check::of_storage(driver), store_health));
    }

    /// Takes the server out of service for a reason that is no check, until [`Health::serve_again`].
    pub fn refuse(&self, name: &str, trouble: String) {
        if self.troubles().insert(name.to_owned(), trouble.clone()).is_none() {
            self.0.refusing.fetch_add(1, Ordering::Relaxed);
            tracing::error!(name, trouble, "every request is refused");
        }
    }

    /// Puts it back.
    pub fn serve_again(&self, name: &str) {
        if self.troubles().remove(name).is_some() {
            self.0.refusing.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(name, "requests are answered again");
        }
    }

    /// Looks from time to time, for ever, the first time at once. Dropping it stops the looking, no more.
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

    /// One look, counted.
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

    /// Everything that is wrong: the check's name and a sentence each.
    fn all(&self) -> BTreeMap<String, String> {
        let mut all = self.troubles().clone();
        if let Some((check, store_health)) = self.0.writes.get()
            && let Some(why) = store_health.problem()
        {
            // A store that does not answer at all is the worse of the two.
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
