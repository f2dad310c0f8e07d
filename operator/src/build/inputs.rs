//! Content that the server reads once, when it starts: `config.yml` in a ConfigMap, and everything secret in a Secret.
//!
//! Guarantees: both are immutable, and their names follow from their contents, so that a Pod that restarts finds what it
//! was started with; the name of the Secret tells nothing about its content.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use sha2::{Digest as _, Sha256};

use super::metadata::owned;
use crate::input_keys;
use crate::issue::Issued;
use crate::names::{hex, revision};
use crate::pod_layout::{CONFIG_FILE, HTTP_SECRET_VARIABLE};
use crate::validate::ValidatedRegistry;
use crate::validate::registry::{ConfigHome, Workload};

/// `config.yml`, when no value in it is secret.
pub(super) fn config(registry: &ValidatedRegistry, workload: &Workload) -> Option<ConfigMap> {
    let yaml = &workload.config.yaml;
    let hash = hex(&Sha256::digest(yaml.as_bytes()));
    (workload.config.home == ConfigHome::ConfigMap).then(|| ConfigMap {
        metadata: owned(registry, revision(&registry.names.config(), &hash)),
        data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), yaml.clone())])),
        immutable: Some(true),
        binary_data: None,
    })
}

/// The secrets for the server, and `config.yml` when a value in it is secret.
pub(super) fn inputs(registry: &ValidatedRegistry, workload: &Workload, issued: &Issued) -> Secret {
    let mut data = workload.inputs.0.clone();
    if workload.config.home == ConfigHome::Secret {
        let yaml = workload.config.yaml.clone();
        data.insert(CONFIG_FILE.to_owned(), yaml.into_bytes());
    }
    if let Some(generated) = &issued.http_secret {
        let key = input_keys::variable(HTTP_SECRET_VARIABLE);
        data.entry(key).or_insert_with(|| generated.clone().into_bytes());
    }
    let name = revision(&registry.names.inputs(), &hash(&data));
    let data = data.into_iter().map(|(key, bytes)| (key, ByteString(bytes)));
    Secret {
        metadata: owned(registry, name),
        type_: Some("Opaque".to_owned()),
        data: Some(data.collect()),
        immutable: Some(true),
        string_data: None,
    }
}

/// A hash that is keyed with the HTTP secrets: people who may not read Secrets can read names, and could try passwords
/// against a plain hash.
fn hash(data: &BTreeMap<String, Vec<u8>>) -> String {
    let prefix = input_keys::variable("REGISTRY_HTTP_");
    let secrets = data.iter().filter(|(key, _)| key.starts_with(&prefix));
    let key: Vec<u8> = secrets.flat_map(|(_, bytes)| bytes.clone()).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of every length");
    let mut add = |bytes: &[u8]| {
        mac.update(&(bytes.len() as u64).to_le_bytes());
        mac.update(bytes);
    };
    for (key, bytes) in data {
        add(key.as_bytes());
        add(bytes);
    }
    hex(&mac.finalize().into_bytes())
}
