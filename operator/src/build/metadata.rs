//! Names, labels and owners of the built objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::subject::Subject;
use crate::validate::ValidatedRegistry;

/// Metadata of an object that is deleted with its Registry.
pub(super) fn owned(registry: &ValidatedRegistry, name: String) -> ObjectMeta {
    ObjectMeta {
        owner_references: Some(vec![owner(&registry.subject)]),
        ..lasting(registry, name)
    }
}

/// Metadata of an object that outlives its Registry. A later Registry of the same name finds it by its labels.
pub(super) fn lasting(registry: &ValidatedRegistry, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(registry.subject.namespace.clone()),
        labels: Some(registry.names.labels()),
        ..Default::default()
    }
}

fn owner(subject: &Subject) -> OwnerReference {
    OwnerReference {
        api_version: "berth.dev/v1alpha1".to_owned(),
        kind: "Registry".to_owned(),
        name: subject.name.clone(),
        uid: subject.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A list, or nothing when it is empty: an empty list would be a field that the operator owns.
pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
