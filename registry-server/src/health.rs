//! Whether the process is alive and whether it should get requests: two questions, never mixed.
//!
//! Guarantees: trouble with the storage makes the server unready and never dead, so that nobody restarts all
//! replicas because a disk is slow; asking costs nothing and needs no login; readiness fails as soon as a stop is
//! asked for, and comes back by itself when the storage does.
//! Must not: be served where clients are. Start at [`Health`]; `http.debug.addr` serves [`Health::respond`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use registry_config::model::StorageHealth;

use crate::storage::{self, Driver, StorageKey};
use crate::telemetry::chain;

/// How long one look at the storage may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What is known of this server. Cheap to clone; clones are the same knowledge.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    draining: Arc<AtomicBool>,
    storage: Mutex<Storage>,
}

#[derive(Debug, Default)]
struct Storage {
    /// `storagedriver_filesystem`, as distribution names the check.
    check: String,
    failures: u32,
    /// What is wrong, once that happened often enough.
    trouble: Option<String>,
}

impl Health {
    /// The flag that is set when the server stops.
    pub fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.draining)
    }

    /// Looks at the storage from time to time, for ever. Dropping it stops the looking, no more.
    pub async fn follow(self, driver: Arc<dyn Driver>, settings: StorageHealth) -> std::convert::Infallible {
        if settings.enabled == Some(false) {
            return std::future::pending().await;
        }
        let interval = settings
            .interval
            .and_then(|span| span.positive())
            .filter(|span| !span.is_zero());
        let mut tick = tokio::time::interval(interval.unwrap_or(Duration::from_secs(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look(&*driver, settings.threshold.unwrap_or(0).max(1)).await;
        }
    }

    /// One look at the storage, counted.
    async fn look(&self, driver: &dyn Driver, threshold: u32) {
        let seen = match tokio::time::timeout(LOOK_LIMIT, reachable(driver)).await {
            Ok(seen) => seen,
            Err(_) => Err(format!("no answer within {} s", LOOK_LIMIT.as_secs())),
        };
        let mut storage = self.0.storage.lock().unwrap_or_else(PoisonError::into_inner);
        storage.check = format!("storagedriver_{}", driver.name());
        match seen {
            Ok(()) => {
                storage.failures = 0;
                if storage.trouble.take().is_some() {
                    tracing::info!(
                        storage = driver.name(),
                        "storage answers again: the server is ready"
                    );
                }
            }
            Err(trouble) => {
                storage.failures = storage.failures.saturating_add(1);
                if storage.failures < threshold {
                    return;
                }
                if storage.trouble.is_none() {
                    tracing::error!(
                        storage = driver.name(),
                        trouble,
                        "storage does not answer: the server is unready"
                    );
                }
                storage.trouble = Some(trouble);
            }
        }
    }

    /// What is wrong: the check's name and a sentence each.
    fn troubles(&self) -> Vec<(String, String)> {
        let mut troubles = Vec::new();
        if self.0.draining.load(Ordering::Relaxed) {
            troubles.push(("draining".to_owned(), "the server is stopping".to_owned()));
        }
        let storage = self.0.storage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = &storage.trouble {
            troubles.push((storage.check.clone(), trouble.clone()));
        }
        troubles
    }

    /// Answers `/livez`, `/readyz` and distribution's `/debug/health`.
    pub fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        }
        match request.uri().path() {
            // That this code runs is the whole answer: a process that is stuck does not get here.
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => {
                let troubles = self.troubles();
                if troubles.is_empty() {
                    return text(StatusCode::OK, "ok\n".to_owned());
                }
                let lines = troubles
                    .iter()
                    .map(|(check, trouble)| format!("{check}: {trouble}\n"));
                text(StatusCode::SERVICE_UNAVAILABLE, lines.collect())
            }
            "/debug/health" => {
                let troubles = self.troubles();
                let status = match troubles.is_empty() {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                };
                let object: serde_json::Map<_, _> = troubles
                    .into_iter()
                    .map(|(check, trouble)| (check, trouble.into()))
                    .collect();
                answer(
                    status,
                    "application/json; charset=utf-8",
                    serde_json::Value::Object(object).to_string(),
                )
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        }
    }
}

/// Whether the store answers. An empty one is a new one, and as good as any.
async fn reachable(driver: &dyn Driver) -> Result<(), String> {
    let key = StorageKey::parse("docker").expect("one component is a key");
    match driver.stat(&key).await {
        Ok(_) | Err(storage::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
