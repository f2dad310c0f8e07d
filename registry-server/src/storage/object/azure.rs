//! Azure Blob Storage: the options of `storage.azure`.
//!
//! Uploads in parts are blocks of the blob itself, which Azure forgets a week after the last one; nothing of it can be
//! listed, and nothing needs to be aborted. Where distribution's appended blobs are in the way, see `kinds`.
//! Distribution 2 wrote names with a slash before them, version 3 does not. Whichever a container holds is gone on with
//! (`container`); what the library cannot say about the former is said by `calls`.

mod calls;
mod container;
mod kinds;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};

pub(super) use container::TwoTrees;

use super::bucket::Seen;
use super::classify::ErrorClassifier;
use super::{
    Certificates, Clients, Conditions, LONG, Object, Patience, QUICK, StoreError, Vendor, prefix, schedule,
};
use crate::storage::StoreHealth;
use container::{Container, Names};

/// The section of the configuration.
const SECTION: &str = "storage.azure";

/// How a container is reached (`storage.azure`).
#[derive(Debug, Clone, Default)]
pub struct AzureOptions {
    /// The account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The address of the account's blobs.
    pub endpoint: String,
    /// Who we are.
    pub credentials: AzureCredentials,
    /// What every name begins with.
    pub root: String,
    /// Whether any certificate is believed.
    pub skip_verify: bool,
    /// A file of certificates that are believed beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether clients are sent to the store for blobs.
    pub redirect: bool,
    /// How often a request is tried again.
    pub retries: Option<usize>,
    /// The first pause between two tries.
    pub pause: Option<std::time::Duration>,
}

/// Who we are to Azure. Prints nothing of itself.
#[derive(Clone, Default)]
pub enum AzureCredentials {
    /// What the environment or the machine says: a workload's token, a managed identity.
    #[default]
    Found,
    /// The account's key.
    Key(String),
    /// An application of Entra's.
    Client {
        /// The tenant.
        tenant: String,
        /// The application's id.
        client: String,
        /// Its secret.
        secret: String,
    },
}

impl std::fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AzureCredentials(..)")
    }
}

impl Object {
    /// The store in a container. Nothing is sent yet. What keeps it from answering is noted in `trouble`.
    ///
    /// # Errors
    /// When the options make no sense, or the certificates cannot be read.
    pub fn azure(options: &AzureOptions, store_health: StoreHealth) -> Result<Self, StoreError> {
        options.open(store_health, |builder| builder)
    }
}

fn failed(source: object_store::Error) -> StoreError {
    StoreError::Options {
        section: SECTION,
        source,
    }
}

impl AzureOptions {
    /// The store, by clients that `known` may still change.
    fn open(
        &self,
        store_health: StoreHealth,
        known: impl FnOnce(MicrosoftAzureBuilder) -> MicrosoftAzureBuilder,
    ) -> Result<Object, StoreError> {
        let certificates = Certificates::read("storage.azure.cacert", self.ca_file.as_deref())?;
        let quick = self.client(known(self.builder()), QUICK, &certificates)?;
        // One token is enough for all.
        let builder = self.builder().with_credentials(Arc::clone(quick.credentials()));
        let names = Arc::new(Names::new(quick.clone(), &self.root));
        let container = |patience, plain| {
            Container::new(self, &builder, patience, &certificates, plain, Arc::clone(&names)).map(Arc::new)
        };
        let long = container(LONG, self.client(builder.clone(), LONG, &certificates)?)?;
        let quick = container(QUICK, quick)?;
        Ok(Object {
            name: "azure",
            clients: Clients {
                quick: quick.clone(),
                long: long.clone(),
                write: long,
                jot: quick.clone(),
            },
            prefix: prefix(&self.root),
            classifier: ErrorClassifier {
                store: format!("azure {}/{}", self.account, self.container).into(),
                store_health,
                seen: Seen::default(),
            },
            part: schedule::PART,
            conditions: Conditions::default(),
            vendor: Vendor::Azure,
            redirects: self.redirect.then_some(quick as Arc<dyn super::Store>),
        })
    }

    /// Where the account is, without a slash behind.
    fn address(&self) -> &str {
        self.endpoint.trim_end_matches('/')
    }

    fn builder(&self) -> MicrosoftAzureBuilder {
        let builder = match &self.credentials {
            AzureCredentials::Found => MicrosoftAzureBuilder::from_env(),
            AzureCredentials::Key(key) => MicrosoftAzureBuilder::new().with_access_key(key),
            AzureCredentials::Client {
                tenant,
                client,
                secret,
            } => MicrosoftAzureBuilder::new().with_client_secret_authorization(client, secret, tenant),
        };
        builder
            .with_account(&self.account)
            .with_container_name(&self.container)
            .with_endpoint(self.address().to_owned())
    }

    fn client(
        &self,
        builder: MicrosoftAzureBuilder,
        patience: Patience,
        certificates: &Certificates,
    ) -> Result<MicrosoftAzure, StoreError> {
        let patience = self.patience(patience);
        let client = certificates.believed_by(patience.client(self.skip_verify));
        builder
            .with_retry(patience.retry())
            .with_client_options(client.map_err(failed)?)
            .with_allow_http(true)
            .build()
            .map_err(failed)
    }

    fn patience(&self, patience: Patience) -> Patience {
        Patience {
            retries: self.retries.unwrap_or(patience.retries),
            pause: self.pause.unwrap_or(patience.pause),
            ..patience
        }
    }
}
