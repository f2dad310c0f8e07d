//! The Deployment, and how it replaces its Pods.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use operator_api::OPERATOR_VERSION_ANNOTATION;

use super::metadata::owned;
use super::pod;
use super::sources::Sources;
use crate::settings::VERSION;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::Workload;

/// After this time the Deployment reports that it makes no progress.
const PROGRESS_DEADLINE_SECONDS: i32 = 600;

/// The Deployment.
pub(super) fn deployment(registry: &ValidatedRegistry, workload: &Workload, sources: &Sources) -> Deployment {
    let mut metadata = owned(registry, registry.names.deployment());
    let version = (OPERATOR_VERSION_ANNOTATION.to_owned(), VERSION.to_owned());
    metadata.annotations = Some([version].into());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: workload.replicas.asked(),
            selector: LabelSelector {
                match_labels: Some(registry.names.selector()),
                ..Default::default()
            },
            strategy: Some(strategy(workload)),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            revision_history_limit: Some(3),
            template: pod::template(registry, workload, sources),
            ..Default::default()
        }),
        status: None,
    }
}

/// Deletes the old Pod first where Pods cannot share the content: the new Pod would wait for a volume that only one
/// node can mount, and two Pods with folders of their own would answer differently.
fn strategy(workload: &Workload) -> DeploymentStrategy {
    if workload.storage.shared() {
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
