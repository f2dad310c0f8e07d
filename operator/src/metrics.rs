//! The operator's metrics, in the text that Prometheus scrapes. `docs/operator-metrics.md` describes each by its name.
//!
//! Guarantees: names and labels are promises; no label holds anything of a spec but the names of Registries, and those only
//! while the Registry exists. Must not: know a step.
//! Start at [`Metrics`].

mod registries;
mod requests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use operator_api::RegistryStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::settings::VERSION;
use registries::{Key, Registries};
pub use requests::RequestLayer;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the durations, in seconds: a reconcile has a minute.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0,
];

/// All metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    duration: Histogram,
    running: Gauge,
    queue_depth: Gauge,
    queue_wait: Histogram,
    requests: requests::Requests,
    leader: Gauge,
    registries: Registries,
    /// When each waiting Registry was added to the queue.
    waiting: Mutex<HashMap<Key, Instant>>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReconcileLabels {
    result: &'static str,
    reason: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BuildLabels {
    version: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let histogram = || Histogram::new(BUCKETS);
        let (reconciles, duration, running) = (Family::default(), histogram(), Gauge::default());
        let (queue_depth, queue_wait, leader) = (Gauge::default(), histogram(), Gauge::default());
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: VERSION }).set(1);
        let registries = Registries::default();
        registry.register(
            "berth_operator_reconciles",
            "Reconciles that ended, by result (success or error) and by the reason of the condition or of the error",
            reconciles.clone(),
        );
        registry.register(
            "berth_operator_reconcile_duration_seconds",
            "Duration of a reconcile",
            duration.clone(),
        );
        registry.register(
            "berth_operator_reconciles_running",
            "Reconciles that run now",
            running.clone(),
        );
        registry.register(
            "berth_operator_workqueue_depth",
            "Registries that wait for a reconcile",
            queue_depth.clone(),
        );
        registry.register(
            "berth_operator_workqueue_wait_seconds",
            "Time from a change until its reconcile begins",
            queue_wait.clone(),
        );
        registry.register(
            "berth_operator_leader",
            "1 while this replica may write, 0 while another one does",
            leader.clone(),
        );
        registry.register("berth_operator_build_info", "Version of the operator", build);
        let requests = requests::Requests::register(&mut registry);
        registry.register_collector(Box::new(registries.clone()));
        Self(Arc::new(Inner {
            registry,
            reconciles,
            duration,
            running,
            queue_depth,
            queue_wait,
            requests,
            leader,
            registries,
            waiting: Mutex::default(),
        }))
    }
}

/// Deliberately without the values.
impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics(…)")
    }
}

impl Metrics {
    /// The values of all metrics now. `leader` is whether this replica may write.
    pub fn text(&self, leader: bool) -> String {
        self.0.leader.set(i64::from(leader));
        let mut text = String::new();
        // Writing to a string cannot fail. If an encoder fails, the rest of the text is still worth sending.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    /// The layer that counts a client's requests.
    pub fn request_layer(&self) -> RequestLayer {
        self.0.requests.layer()
    }

    /// A Registry waits for a reconcile.
    pub(crate) fn queued(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut waiting = self.waiting();
        waiting.entry(key).or_insert_with(Instant::now);
        self.show_depth(&waiting);
    }

    /// A reconcile of a Registry begins. Gives how long it was waited for, when something had changed.
    pub(crate) fn begun(&self, key: &Key) -> Option<Duration> {
        self.0.running.inc();
        let since = self.stop_waiting(key)?;
        let waited = since.elapsed();
        self.0.queue_wait.observe(waited.as_secs_f64());
        Some(waited)
    }

    /// A reconcile ended.
    pub(crate) fn ended(&self, result: &'static str, reason: &str, duration: Duration) {
        self.0.running.dec();
        self.0.duration.observe(duration.as_secs_f64());
        let reason = reason.to_owned();
        self.0
            .reconciles
            .get_or_create(&ReconcileLabels { result, reason })
            .inc();
    }

    /// A reconcile was given up without an end, because this replica no longer leads.
    pub(crate) fn dropped(&self) {
        self.0.running.dec();
    }

    /// The status of a Registry after a reconcile.
    pub(crate) fn set_status(&self, key: &Key, status: &RegistryStatus) {
        self.0.registries.set(key, status);
    }

    /// A Registry is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.registries.remove(key);
        self.stop_waiting(key);
    }

    /// This replica no longer reconciles: another one tells about the Registries.
    pub(crate) fn forget_all(&self) {
        self.0.registries.clear();
        let mut waiting = self.waiting();
        waiting.clear();
        self.show_depth(&waiting);
    }

    fn stop_waiting(&self, key: &Key) -> Option<Instant> {
        let mut waiting = self.waiting();
        let since = waiting.remove(key);
        self.show_depth(&waiting);
        since
    }

    fn show_depth(&self, waiting: &HashMap<Key, Instant>) {
        self.0
            .queue_depth
            .set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key() -> Key {
        ("quay".to_owned(), "harbour".to_owned())
    }

    #[track_caller]
    fn check_has(text: &str, line: &str) {
        assert!(
            text.lines().any(|has| has == line),
            "no line `{line}` in:\n{text}"
        );
    }

    #[test]
    fn a_reconcile_is_counted_with_its_result_and_the_time_it_waited() {
        let metrics = Metrics::default();
        metrics.queued("quay", "harbour");
        metrics.queued("quay", "harbour");
        metrics.queued("quay", "pier");
        check_has(&metrics.text(true), "berth_operator_workqueue_depth 2");
        assert!(metrics.begun(&key()).is_some());
        let text = metrics.text(true);
        check_has(&text, "berth_operator_workqueue_depth 1");
        check_has(&text, "berth_operator_reconciles_running 1");
        check_has(&text, "berth_operator_workqueue_wait_seconds_count 1");
        metrics.ended("success", "Serving", Duration::from_millis(20));
        // Nothing had changed: it was time for another look.
        assert!(metrics.begun(&key()).is_none());
        metrics.ended("error", "APIUnavailable", Duration::from_secs(3));
        let text = metrics.text(false);
        check_has(
            &text,
            "berth_operator_reconciles_total{result=\"success\",reason=\"Serving\"} 1",
        );
        check_has(
            &text,
            "berth_operator_reconciles_total{result=\"error\",reason=\"APIUnavailable\"} 1",
        );
        check_has(&text, "berth_operator_reconcile_duration_seconds_count 2");
        check_has(
            &text,
            "berth_operator_reconcile_duration_seconds_bucket{le=\"0.025\"} 1",
        );
        check_has(&text, "berth_operator_reconciles_running 0");
        check_has(&text, "berth_operator_leader 0");
        check_has(
            &text,
            &format!("berth_operator_build_info{{version=\"{VERSION}\"}} 1"),
        );
    }

    /// The names of the metrics of which there is a sample, without the endings of counters and histograms.
    fn names(text: &str) -> BTreeSet<&str> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).collect()
    }

    #[tokio::test]
    async fn the_docs_describe_every_metric_and_no_other() {
        let metrics = Metrics::default();
        // A metric with labels is only written once it has a sample.
        metrics.begun(&key());
        metrics.ended("success", "Serving", Duration::ZERO);
        let at = "2026-03-01T12:00:00Z";
        let status = serde_json::from_value(serde_json::json!({
            "conditions": [
                { "type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": at },
            ],
            "tls": { "notAfter": at },
            "storage": { "usedPercent": 85 },
        }));
        metrics.set_status(&key(), &status.unwrap());
        let answer = tower::service_fn(|_: http::Request<()>| async { Ok::<_, ()>(http::Response::new(())) });
        let counted = tower::Layer::layer(&metrics.request_layer(), answer);
        tower::ServiceExt::oneshot(counted, http::Request::new(()))
            .await
            .unwrap();
        let text = metrics.text(true);

        let docs = include_str!("../../docs/operator-metrics.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `"));
        let described: BTreeSet<_> = rows
            .filter_map(|row| row.split('`').next())
            .map(|name| name.strip_suffix("_total").unwrap_or(name))
            .collect();
        assert_eq!(described, names(&text));
    }
}
