//! The services behind the server: an object store with the content, Redis with descriptors.
//!
//! Each becomes a section of `config.yml`, and environment variables and files of the Pods: from Secrets, and tokens.
//! Guarantees: every Secret and ConfigMap it names exists and holds what it must; nothing of a Secret is in the
//! section, which may live in a ConfigMap. Must not: send a request to a service.
//! Start at [`check`]; each service has a file of its own.

mod azure;
mod gcs;
mod needs;
mod redis;
mod s3;

use std::collections::BTreeMap;

use operator_api::{Redirect, RegistrySpec, Storage};
use serde_json::{Value, json};

use super::error::{Collector, Error};
use super::registry::Supplies;
use crate::read::Facts;
use needs::ServiceNeeds;

/// The services' part of the configuration and of the Pods.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// Sections of `config.yml`.
    pub(super) config: Value,
    /// Variables and files of the Pods.
    pub(super) supplies: Supplies,
    /// Contents that the server does not read again by itself.
    pub(super) inputs: BTreeMap<String, Vec<u8>>,
}

/// Checks the object store and the cache; `None` when one of them is wrong.
pub(super) fn check(spec: &RegistrySpec, facts: &Facts, found: &mut Collector) -> Option<Services> {
    let mut needs = ServiceNeeds {
        facts,
        supplies: Supplies::default(),
        inputs: BTreeMap::new(),
    };
    let storage = &spec.storage;
    let store = found.collect(object_store(storage, &mut needs));
    let cache = spec.cache.as_ref();
    let redis = found.collect(
        cache
            .map(|cache| redis::section(&cache.redis, &mut needs))
            .transpose(),
    );
    let mut config = json!({});
    if let Some((driver, section)) = store? {
        config["storage"][driver] = section;
        config["storage"]["redirect"]["disable"] = json!(storage.redirect == Redirect::Disabled);
        // Without a cache each pull would ask the store for the descriptor.
        config["storage"]["cache"]["blobdescriptor"] = json!("inmemory");
    }
    if let Some(section) = redis? {
        config["redis"] = section;
        config["storage"]["cache"]["blobdescriptor"] = json!("redis");
    }
    let ServiceNeeds {
        mut supplies, inputs, ..
    } = needs;
    supplies.identity_of_service_account = uses_workload_identity(storage);
    Some(Services {
        config,
        supplies,
        inputs,
    })
}

fn object_store(
    storage: &Storage,
    needs: &mut ServiceNeeds<'_>,
) -> Result<Option<(&'static str, Value)>, Error> {
    Ok(if let Some(store) = &storage.s3 {
        Some(("s3", s3::section(store, needs)?))
    } else if let Some(store) = &storage.azure {
        Some(("azure", azure::section(store, needs)?))
    } else if let Some(store) = &storage.gcs {
        Some(("gcs", gcs::section(store, needs)?))
    } else {
        None
    })
}

fn uses_workload_identity(storage: &Storage) -> bool {
    let s3 = storage
        .s3
        .iter()
        .any(|s| s.credentials.workload_identity.is_some());
    let azure = storage
        .azure
        .iter()
        .any(|s| s.credentials.workload_identity.is_some());
    let gcs = storage
        .gcs
        .iter()
        .any(|s| s.credentials.workload_identity.is_some());
    s3 || azure || gcs
}

#[cfg(test)]
mod tests;
