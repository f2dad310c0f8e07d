//! Immutable ConfigMaps and Secrets of earlier rollouts that nothing uses any more.
//!
//! Guarantees: an object is only among them when neither the Deployment, nor a ReplicaSet with Pods, nor a Pod names it.
//! Must not: talk to the API server. Start at [`candidates`].

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;

use crate::names::{Names, is_revision};
use crate::ownership::is_controlled_by;
use crate::pod_references::PodReferences;
use crate::subject::Subject;

/// Objects that can be deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obsolete {
    pub(crate) config_maps: Vec<ObjectMeta>,
    pub(crate) secrets: Vec<ObjectMeta>,
}

/// Names of the objects that the Pods of the Deployment's newest template need.
pub(super) fn used_by(deployment: Option<&Deployment>) -> PodReferences {
    let pod = deployment.and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref());
    pod.map(PodReferences::of).unwrap_or_default()
}

/// The immutable objects among these that the Deployment does not use. There are none while a rollout runs.
pub(super) fn candidates(
    config_maps: Vec<ObjectMeta>,
    secrets: Vec<ObjectMeta>,
    deployment: &Deployment,
    subject: &Subject,
    names: &Names,
) -> Obsolete {
    let revision = |meta: &ObjectMeta| {
        let name = meta.name.as_deref().unwrap_or_default();
        // The name without a hash is that of earlier versions of the operator.
        let ours = name == names.config()
            || is_revision(&names.config(), name)
            || is_revision(&names.inputs(), name);
        ours && is_controlled_by(meta, &subject.uid) && meta.deletion_timestamp.is_none()
    };
    Obsolete {
        config_maps: config_maps.into_iter().filter(revision).collect(),
        secrets: secrets.into_iter().filter(revision).collect(),
    }
    .without(&used_by(Some(deployment)))
}

impl Obsolete {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }

    /// Those that neither a ReplicaSet with Pods nor a Pod uses.
    pub(super) fn unused(self, sets: Vec<ReplicaSet>, pods: Vec<Pod>) -> Self {
        let mut used = PodReferences::default();
        for set in sets {
            let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            let has = set.status.as_ref().map_or(0, |status| status.replicas);
            let template = set.spec.and_then(|spec| spec.template?.spec);
            if let Some(pod) = template.filter(|_| wanted > 0 || has > 0) {
                used.add(&pod);
            }
        }
        for pod in pods {
            pod.spec.iter().for_each(|spec| used.add(spec));
        }
        self.without(&used)
    }

    fn without(mut self, used: &PodReferences) -> Self {
        let unused = |name: &Option<String>, used: &BTreeSet<String>| {
            name.as_ref().is_some_and(|name| !used.contains(name))
        };
        self.config_maps
            .retain(|meta| unused(&meta.name, &used.config_maps));
        self.secrets.retain(|meta| unused(&meta.name, &used.secrets));
        self
    }
}
