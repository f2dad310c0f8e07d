//! The metrics of each Registry, told only while it exists. Start at [`Registries`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use operator_api::RegistryStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Namespace and name of a Registry.
pub(super) type Key = (String, String);

/// The state of each Registry. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Registries(Arc<Mutex<BTreeMap<Key, State>>>);

#[derive(Debug)]
struct State {
    /// By type: whether the status is True.
    conditions: BTreeMap<String, bool>,
    /// Seconds since 1970.
    certificate_end: Option<i64>,
    /// From 0 to 1, in steps.
    storage_used: Option<f64>,
}

impl Registries {
    pub(super) fn set(&self, key: &Key, status: &RegistryStatus) {
        let conditions = status.conditions.iter();
        let end = status.tls.as_ref().and_then(|tls| tls.not_after.as_ref());
        let used = status.storage.as_ref().and_then(|storage| storage.used_percent);
        let state = State {
            conditions: conditions
                .map(|condition| (condition.type_.clone(), condition.status == "True"))
                .collect(),
            certificate_end: end.map(|end| end.0.as_second()),
            storage_used: used.map(|percent| f64::from(percent) / 100.0),
        };
        self.lock().insert(key.clone(), state);
    }

    pub(super) fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, State>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Registries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.lock();
        let mut conditions = encoder.encode_descriptor(
            "berth_registry_condition",
            "1 when the condition of this type is True",
            None,
            MetricType::Gauge,
        )?;
        for ((namespace, name), state) in &*all {
            for (type_, holds) in &state.conditions {
                let labels = [("namespace", namespace), ("name", name), ("type", type_)];
                let sample = conditions.encode_family(&labels)?;
                ConstGauge::new(i64::from(*holds)).encode(sample)?;
            }
        }
        let mut ends = encoder.encode_descriptor(
            "berth_registry_certificate_expiry_timestamp_seconds",
            "When the server's certificate ends, in seconds since 1970",
            None,
            MetricType::Gauge,
        )?;
        for ((namespace, name), state) in &*all {
            if let Some(end) = state.certificate_end {
                let labels = [("namespace", namespace), ("name", name)];
                ConstGauge::new(end).encode(ends.encode_family(&labels)?)?;
            }
        }
        let mut used = encoder.encode_descriptor(
            "berth_registry_storage_used_ratio",
            "How full the file system with the content is, from 0 to 1 in steps of 0.05",
            None,
            MetricType::Gauge,
        )?;
        for ((namespace, name), state) in &*all {
            if let Some(share) = state.storage_used {
                let labels = [("namespace", namespace), ("name", name)];
                ConstGauge::new(share).encode(used.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Metrics;

    #[test]
    fn a_registry_is_told_while_it_exists_and_while_this_replica_leads() {
        let metrics = Metrics::default();
        let key = |name: &str| ("quay".to_owned(), name.to_owned());
        let at = "2026-03-01T12:00:00Z";
        let status = serde_json::from_value(json!({
            "conditions": [
                { "type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": at },
                { "type": "Stalled", "status": "False", "reason": "Unhindered", "message": "", "lastTransitionTime": at },
            ],
            "tls": { "notAfter": at },
            "storage": { "usedPercent": 85 },
        }))
        .unwrap();
        metrics.set_status(&key("harbour"), &status);
        let text = metrics.text(true);
        for line in [
            "berth_registry_condition{namespace=\"quay\",name=\"harbour\",type=\"Ready\"} 1",
            "berth_registry_condition{namespace=\"quay\",name=\"harbour\",type=\"Stalled\"} 0",
            "berth_registry_certificate_expiry_timestamp_seconds{namespace=\"quay\",name=\"harbour\"} 1772366400",
            "berth_registry_storage_used_ratio{namespace=\"quay\",name=\"harbour\"} 0.85",
        ] {
            assert!(text.contains(line), "no line `{line}` in:\n{text}");
        }
        metrics.set_status(&key("pier"), &status);
        metrics.forget(&key("harbour"));
        let text = metrics.text(true);
        assert!(!text.contains("harbour") && text.contains("pier"), "{text}");
        metrics.forget_all();
        assert!(!metrics.text(true).contains("pier"));
    }
}
