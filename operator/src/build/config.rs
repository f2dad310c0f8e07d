//! `config.yml` in a ConfigMap, or in a Secret when values in it are secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::metadata::owned;
use crate::pod_layout::CONFIG_FILE;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::{ConfigHome, Workload};

/// The ConfigMap, when no value is secret.
pub(super) fn config_map(registry: &ValidatedRegistry, workload: &Workload) -> Option<ConfigMap> {
    (workload.config.home == ConfigHome::ConfigMap).then(|| ConfigMap {
        metadata: owned(registry, registry.names.config()),
        data: Some(BTreeMap::from([(
            CONFIG_FILE.to_owned(),
            workload.config.yaml.clone(),
        )])),
        ..Default::default()
    })
}

/// The Secret, when a value is secret.
pub(super) fn config_secret(registry: &ValidatedRegistry, workload: &Workload) -> Option<Secret> {
    let yaml = ByteString(workload.config.yaml.clone().into_bytes());
    (workload.config.home == ConfigHome::Secret).then(|| Secret {
        metadata: owned(registry, registry.names.config()),
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), yaml)])),
        ..Default::default()
    })
}
