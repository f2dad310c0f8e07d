//! The claim made from the template.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use operator_api::RetentionPolicy;

use super::metadata::{lasting, owned};
use crate::validate::ValidatedRegistry;
use crate::validate::backend::Backend;

/// The claim, when the storage asks for one.
pub(super) fn claim(registry: &ValidatedRegistry, storage: &Backend) -> Option<PersistentVolumeClaim> {
    let Backend::MadeClaim(claim) = storage else {
        return None;
    };
    let metadata = match claim.retention_policy {
        RetentionPolicy::Retain => lasting(registry, claim.name.clone()),
        RetentionPolicy::Delete => owned(registry, claim.name.clone()),
    };
    Some(PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(claim.access_modes.clone()),
            storage_class_name: claim.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(claim.size.clone()),
                )])),
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: None,
    })
}
