//! The HorizontalPodAutoscaler, which sets the Deployment's replicas.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};

use super::metadata::owned;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::{Replicas, Workload};

/// The autoscaler, where the spec asks for one.
pub(super) fn autoscaler(
    registry: &ValidatedRegistry,
    workload: &Workload,
) -> Option<HorizontalPodAutoscaler> {
    let Replicas::Scaled { autoscaling, .. } = &workload.replicas else {
        return None;
    };
    let cpu = MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(autoscaling.target_cpu_utilization_percentage),
                ..Default::default()
            },
        }),
        ..Default::default()
    };
    Some(HorizontalPodAutoscaler {
        metadata: owned(registry, registry.names.autoscaler()),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: registry.names.deployment(),
            },
            min_replicas: Some(autoscaling.min_replicas),
            max_replicas: autoscaling.max_replicas,
            metrics: Some(vec![cpu]),
            ..Default::default()
        }),
        status: None,
    })
}
