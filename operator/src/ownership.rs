//! Ownership: whether an object with the name of a child belongs to the Registry. Other objects are never touched.
//!
//! A child that can be built again belongs to the Registry when its controller is a Registry of this name: this one, or
//! an earlier one that was deleted and whose objects the garbage collector has not reached yet. After
//! `kubectl delete --cascade=orphan` it has no controller at all; then its labels decide, as they do for a child that
//! outlives its Registry: the label that names the Registry and the operator's mark. Labels are too short for every name;
//! where two Registries can have the same one, an annotation has the whole name.
//! Start at [`is_ours`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use operator_api::{GROUP, REGISTRY_LABEL, REGISTRY_NAME_ANNOTATION};

use crate::names::{MANAGED_BY, Names};
use crate::subject::Subject;

/// Field manager of everything but the status.
pub const FIELD_MANAGER: &str = "berth-operator";

/// How a child is written, recognised and deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lifetime {
    /// Random, and known to clients or Pods: created once, never overwritten, never deleted. Recognised by its labels.
    CreatedOnce,
    /// Random, and known to clients: created once, changed only when it is renewed and only as it was read, never deleted.
    /// Recognised by its labels.
    Renewed,
    /// Holds content: kept up to date, never deleted. Recognised by its labels.
    Lasting,
    /// Can be built again: deleted when it is no longer wanted and no Pod of an earlier rollout can still use it.
    /// Recognised by its controller, or without one by its labels.
    UntilRolledOut,
    /// Its content is part of its name: created, never changed, and deleted when no Pod can use it any more. Recognised
    /// like those that can be built again.
    Immutable,
    /// Can be built again, and no Pod uses it: deleted as soon as it is no longer wanted. Recognised by its
    /// controller, or without one by its labels.
    UntilUnwanted,
}

impl Lifetime {
    /// Whether the object stays when its Registry is deleted, so that its labels alone say whose it is.
    pub(crate) fn outlives_the_registry(self) -> bool {
        matches!(self, Self::CreatedOnce | Self::Renewed | Self::Lasting)
    }
}

/// Whether an object with this metadata is a child of `subject`.
pub(crate) fn is_ours(metadata: &ObjectMeta, lifetime: Lifetime, subject: &Subject) -> bool {
    let label = |key: &str| metadata.labels.as_ref()?.get(key).map(String::as_str);
    let annotations = metadata.annotations.as_ref();
    let name = annotations.and_then(|all| all.get(REGISTRY_NAME_ANNOTATION));
    let labelled = label(REGISTRY_LABEL) == Some(Names::of(&subject.name).label())
        && label(MANAGED_BY.0) == Some(MANAGED_BY.1)
        // Objects of earlier versions have no such annotation.
        && name.is_none_or(|name| *name == subject.name);
    match lifetime {
        Lifetime::CreatedOnce | Lifetime::Renewed | Lifetime::Lasting => labelled,
        Lifetime::UntilRolledOut | Lifetime::UntilUnwanted | Lifetime::Immutable => {
            let mut owners = metadata.owner_references.iter().flatten();
            match owners.find(|owner| owner.controller == Some(true)) {
                None => labelled,
                Some(owner) => owner.uid == subject.uid || is_registry(owner, subject),
            }
        }
    }
}

/// Whether the owner is a Registry of this name: this one, or an earlier one.
pub(crate) fn is_registry(owner: &OwnerReference, subject: &Subject) -> bool {
    owner.kind == "Registry"
        && owner.name == subject.name
        && owner.api_version.split('/').next() == Some(GROUP)
}

/// Whether the controller of the object is exactly this Registry, not an earlier one of the same name.
pub(crate) fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_registry_controls_is_deleted() {
        let meta = |owner: serde_json::Value| -> ObjectMeta {
            serde_json::from_value(serde_json::json!({ "ownerReferences": owner })).unwrap()
        };
        let owner = |uid: &str, controller: bool| serde_json::json!([{ "apiVersion": "v1", "kind": "Registry", "name": "harbour", "uid": uid, "controller": controller }]);
        assert!(is_controlled_by(&meta(owner("ours", true)), "ours"));
        assert!(!is_controlled_by(&meta(owner("another", true)), "ours"));
        assert!(!is_controlled_by(&meta(owner("ours", false)), "ours"));
        assert!(!is_controlled_by(&ObjectMeta::default(), "ours"), "a user's");
    }
}
