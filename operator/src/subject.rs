//! Which Registry a reconcile is about.

use kube::api::ObjectMeta;
use sha2::{Digest as _, Sha256};

/// The identity of one Registry object.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID. A Registry that is deleted and created again has another one.
    pub uid: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
}

impl Subject {
    /// Reads the identity from the metadata that the API server sets on every object.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation,
        }
    }

    /// Namespace and name, the key of what is remembered between reconciles.
    pub fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }

    /// The value by which the Registry's servers identify themselves in each answer. Clients see it, so it tells
    /// nothing of names or of the UID itself.
    pub(crate) fn identity(&self) -> String {
        let hash = Sha256::digest(format!("berth.dev/registry-id {}", self.uid));
        // Begins with a letter, so that no writer of YAML puts some of these texts into quotes.
        hash[..8]
            .iter()
            .fold("r-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }
}
