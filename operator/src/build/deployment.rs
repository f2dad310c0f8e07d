//! The Deployment.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{owned, selector};
use super::pod;
use crate::issue::Issued;
use crate::validate::ValidatedRegistry;

/// After this the Deployment itself says that it makes no progress.
const PROGRESS_DEADLINE_SECONDS: i32 = 600;

pub(super) fn deployment(registry: &ValidatedRegistry, issued: &Issued) -> Deployment {
    Deployment {
        metadata: owned(registry, registry.names.deployment()),
        spec: Some(DeploymentSpec {
            replicas: Some(registry.replicas),
            selector: LabelSelector {
                match_labels: Some(selector(registry)),
                ..Default::default()
            },
            strategy: Some(strategy(registry)),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            revision_history_limit: Some(3),
            template: pod::template(registry, issued),
            ..Default::default()
        }),
        status: None,
    }
}

/// A volume that only one node can mount would keep the next Pod waiting for the last; and two Pods with folders of
/// their own would answer differently. So the old one goes first.
fn strategy(registry: &ValidatedRegistry) -> DeploymentStrategy {
    if registry.storage.shared() {
        return DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_unavailable: Some(IntOrString::Int(0)),
                max_surge: Some(IntOrString::Int(1)),
            }),
        };
    }
    DeploymentStrategy {
        type_: Some("Recreate".to_owned()),
        rolling_update: None,
    }
}
