//! Azure Blob Storage: makes the store of a container.
//!
//! The parts of an upload are blocks of the blob itself, which Azure removes a week after the last one; they cannot be listed
//! and need not be aborted. `append_blobs` handles the append blobs of distribution.
//! Distribution 2 wrote names with a slash before them, version 3 does not. The form that a container has is kept
//! (`container`); `calls` has the requests that the library cannot make for names with a slash.

mod append_blobs;
mod calls;
mod container;
mod multipart;
mod options;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;

pub use options::{AzureCredentials, AzureOptions};

use super::classify::ErrorClassifier;
use super::client::{Certificates, LONG, QUICK, StoreError, prefix};
use super::conditional_writes::ConditionalWrites;
use super::last_seen::LastSeen;
use super::part_size;
use super::store::{Clients, Object, Store, Vendor};
use crate::storage::StoreHealth;
use container::{Container, Names};

impl Object {
    /// The store in a container. No request is sent yet. Failures are reported to `store_health`.
    ///
    /// # Errors
    /// The options are invalid, or the certificates cannot be read.
    pub fn azure(options: &AzureOptions, store_health: StoreHealth) -> Result<Self, StoreError> {
        options.open(store_health, |builder| builder)
    }
}

impl AzureOptions {
    /// The store, with clients that `known` may change for tests.
    fn open(
        &self,
        store_health: StoreHealth,
        known: impl FnOnce(MicrosoftAzureBuilder) -> MicrosoftAzureBuilder,
    ) -> Result<Object, StoreError> {
        let certificates = Certificates::read("storage.azure.cacert", self.ca_file.as_deref())?;
        let quick = self.client(known(self.builder()), QUICK, &certificates)?;
        // All clients share one token.
        let builder = self.builder().with_credentials(Arc::clone(quick.credentials()));
        let names = Arc::new(Names::new(quick.clone(), &self.root));
        let container = |timeouts, plain| {
            Container::new(self, &builder, timeouts, &certificates, plain, Arc::clone(&names)).map(Arc::new)
        };
        let long = container(LONG, self.client(builder.clone(), LONG, &certificates)?)?;
        let quick = container(QUICK, quick)?;
        Ok(Object {
            name: "azure",
            clients: Clients {
                quick: quick.clone(),
                long: long.clone(),
                write: long,
                small_write: quick.clone(),
            },
            prefix: prefix(&self.root),
            classifier: ErrorClassifier {
                store: format!("azure {}/{}", self.account, self.container).into(),
                store_health,
                seen: LastSeen::default(),
            },
            part: part_size::PART,
            conditional_writes: ConditionalWrites::default(),
            vendor: Vendor::Azure,
            redirects: self.redirect.then_some(quick as Arc<dyn Store>),
        })
    }
}
