//! Metrics of logins.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The outcome of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The password was right.
    Accepted,
    /// The password was wrong, or there is no such user.
    Refused,
    /// Turned away because its address sends too many logins.
    TooMany,
    /// Turned away because all clients together send too many logins.
    Busy,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// The metrics. A clone is another handle of the same metrics.
#[derive(Debug, Clone, Default)]
pub(super) struct LoginMetrics {
    logins: Family<ByOutcome, Counter>,
    waiting: Gauge,
}

impl LoginMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "registry_auth_logins",
            "Logins with a name and a password",
            self.logins.clone(),
        );
        registry.register(
            "registry_auth_waiting_logins",
            "Logins that wait until their password can be checked",
            self.waiting.clone(),
        );
    }

    pub(super) fn count(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Refused => "refused",
            Outcome::TooMany => "too_many",
            Outcome::Busy => "busy",
        };
        self.logins.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(super) fn waiting(&self, logins: usize) {
        self.waiting.set(i64::try_from(logins).unwrap_or(i64::MAX));
    }
}
