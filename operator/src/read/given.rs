//! Facts that were given, in place of those that the API server tells: for a Registry that is only looked at.
//!
//! Start at [`Facts::of_empty_namespace`] and [`Facts::add`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use serde_json::Value;

use super::{Facts, Obsolete};
use crate::children::{Children, Existing};
use crate::optional::OptionalObjects;
use crate::references::Named;

impl Facts {
    /// The facts about a Registry that names the objects `named` and has none yet, in a cluster without optional kinds.
    pub(crate) fn of_empty_namespace(named: Named, now: Timestamp) -> Self {
        Self {
            now,
            secrets: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            named,
            named_claim: None,
            claim_can_grow: None,
            optional: OptionalObjects::default(),
            existing: Children::<Existing>::default(),
            endpoints: Vec::new(),
            pods: Vec::new(),
            obsolete: Obsolete::default(),
            unreadable: BTreeMap::new(),
        }
    }

    /// Adds a Secret, a ConfigMap or a claim of the namespace. Objects of other kinds are no facts.
    ///
    /// # Errors
    /// It has fields that its kind does not allow.
    pub(crate) fn add(&mut self, object: Value) -> Result<(), serde_json::Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match object["kind"].as_str() {
            Some("Secret") => {
                let secret = serde_json::from_value(object)?;
                self.secrets.insert(name, Some(with_string_data(secret)));
            }
            Some("ConfigMap") => {
                let map: ConfigMap = serde_json::from_value(object)?;
                self.config_maps.insert(name, Some(map));
            }
            Some("PersistentVolumeClaim") => {
                let claim: PersistentVolumeClaim = serde_json::from_value(object)?;
                if self.named.holds::<PersistentVolumeClaim>(&name) {
                    self.named_claim = Some(claim);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The Secret with its `stringData` in `data`, where the API server puts it.
fn with_string_data(mut secret: Secret) -> Secret {
    let text = secret.string_data.take().unwrap_or_default();
    let text = text
        .into_iter()
        .map(|(key, text)| (key, ByteString(text.into_bytes())));
    secret.data.get_or_insert_default().extend(text);
    secret
}
