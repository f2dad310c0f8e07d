//! `config.yml`: in a ConfigMap, or in a Secret when it holds values of Secrets.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::labels::owned;
use crate::validate::ValidatedRegistry;
use crate::validate::config::CONFIG_FILE;

pub(super) fn config_map(registry: &ValidatedRegistry) -> Option<ConfigMap> {
    (!registry.config.secret).then(|| ConfigMap {
        metadata: owned(registry, registry.names.config()),
        data: Some(BTreeMap::from([(
            CONFIG_FILE.to_owned(),
            registry.config.yaml.clone(),
        )])),
        ..Default::default()
    })
}

pub(super) fn config_secret(registry: &ValidatedRegistry) -> Option<Secret> {
    let yaml = ByteString(registry.config.yaml.clone().into_bytes());
    registry.config.secret.then(|| Secret {
        metadata: owned(registry, registry.names.config()),
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), yaml)])),
        ..Default::default()
    })
}
