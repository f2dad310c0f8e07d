//! The server's metrics.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::labels;

/// The server's metrics, in Prometheus' format, at `/metrics` of the Pods' port `probes` (5001), without a password.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Whether the operator makes a PodMonitor, by which the Prometheus operator finds the Pods. It is made as soon as
    /// the cluster has the kind.
    #[serde(default)]
    pub pod_monitor: Monitor,
    /// Time between two requests, such as `30s`; Prometheus' own default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.matches('^[1-9][0-9]{0,4}(s|m|h)$')")
            .message("spec.metrics.interval must be a whole number of seconds, minutes or hours such as 30s")
    )]
    pub interval: Option<String>,
    /// Labels of the PodMonitor, by which a Prometheus selects it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('berth.dev/') && !k.startsWith('app.kubernetes.io/'))")
            .message("spec.metrics.labels must not contain berth.dev/ and app.kubernetes.io/ keys: the operator sets them")
    )]
    pub labels: BTreeMap<String, String>,
}

/// Whether there is a PodMonitor.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Monitor {
    /// There is one where the cluster has the kind.
    #[default]
    Enabled,
    /// There is none.
    Disabled,
}
