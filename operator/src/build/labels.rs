//! Labels, names and owners, the same for every kind.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use operator_api::REGISTRY_LABEL;

use crate::validate::ValidatedRegistry;
use crate::validate::ownership::MANAGED_BY;

/// What picks the Registry's Pods. It never changes: a Deployment's selector cannot.
pub(crate) fn selector(registry: &ValidatedRegistry) -> BTreeMap<String, String> {
    BTreeMap::from([(REGISTRY_LABEL.to_owned(), registry.names.label().to_owned())])
}

/// Labels of every object.
pub(super) fn labels(registry: &ValidatedRegistry) -> BTreeMap<String, String> {
    let mut labels = selector(registry);
    for (key, value) in [
        ("app.kubernetes.io/name", "registry"),
        ("app.kubernetes.io/instance", registry.names.label()),
        ("app.kubernetes.io/part-of", "berth"),
        MANAGED_BY,
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// Metadata of an object that goes with its Registry.
pub(super) fn owned(registry: &ValidatedRegistry, name: String) -> ObjectMeta {
    ObjectMeta {
        owner_references: Some(vec![owner(registry)]),
        ..lasting(registry, name)
    }
}

/// Metadata of an object that stays when its Registry goes, to be found again by its label.
pub(super) fn lasting(registry: &ValidatedRegistry, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(registry.namespace.clone()),
        labels: Some(labels(registry)),
        ..Default::default()
    }
}

fn owner(registry: &ValidatedRegistry) -> OwnerReference {
    OwnerReference {
        api_version: "berth.dev/v1alpha1".to_owned(),
        kind: "Registry".to_owned(),
        name: registry.name.clone(),
        uid: registry.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
