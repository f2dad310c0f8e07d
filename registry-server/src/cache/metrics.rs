//! Metrics of the cache, under distribution's names: those of registry:3, and the one of registry:2.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::telemetry::metrics::BUCKETS;

/// The metrics.
#[derive(Debug)]
pub(super) struct CacheMetrics {
    requests: Counter,
    hits: Counter,
    errors: Counter,
    /// The metric of registry:2, which counts a failure as a miss.
    answers: Family<Answer, Counter>,
    took: Family<Labels, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    operation: &'static str,
}

/// A timed operation of Redis.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    /// To look a link up.
    Stat,
    /// To remember one.
    SetDescriptor,
}

impl Operation {
    /// Distribution's label for the operation on a repository.
    fn label(self) -> Labels {
        let operation = match self {
            Self::Stat => "RepoStat",
            Self::SetDescriptor => "RepoSetDescriptor",
        };
        Labels { operation }
    }
}

impl Default for CacheMetrics {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            hits: Counter::default(),
            errors: Counter::default(),
            answers: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

impl CacheMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            (
                "registry_storage_cache_requests",
                "The number of cache request received",
                &self.requests,
            ),
            (
                "registry_storage_cache_hits",
                "The number of cache request received",
                &self.hits,
            ),
            (
                "registry_storage_cache_errors",
                "The number of cache request errors",
                &self.errors,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "registry_storage_cache",
            "The number of cache request received",
            self.answers.clone(),
        );
    }

    /// Counts a lookup.
    pub(super) fn asked(&self) {
        self.requests.inc();
        self.answer("Request");
    }

    /// Counts a hit.
    pub(super) fn hit(&self) {
        self.hits.inc();
        self.answer("Hit");
    }

    /// Counts a miss.
    pub(super) fn missed(&self) {
        self.answer("Miss");
    }

    /// Counts a failure.
    pub(super) fn failed(&self) {
        self.errors.inc();
    }

    /// The number of failures.
    #[cfg(all(test, feature = "redis"))]
    pub(super) fn failures(&self) -> u64 {
        self.errors.get()
    }

    fn answer(&self, r#type: &'static str) {
        self.answers.get_or_create(&Answer { r#type }).inc();
    }

    pub(super) fn register_redis(&self, registry: &mut Registry) {
        registry.register(
            "registry_storage_cache_redis_seconds",
            "Number of seconds taken by redis",
            self.took.clone(),
        );
    }

    /// Measures the time until the returned timer is dropped, also when the caller was cancelled.
    pub(super) fn time(&self, operation: Operation) -> Took {
        Took(self.took.get_or_create_owned(&operation.label()), Instant::now())
    }
}

/// A running timer.
pub(super) struct Took(Histogram, Instant);

impl Drop for Took {
    fn drop(&mut self) {
        self.0.observe(self.1.elapsed().as_secs_f64());
    }
}
