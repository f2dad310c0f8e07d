//! Azure Blob Storage: the options of `storage.azure`.
//!
//! Uploads in parts are blocks of the blob itself, which Azure forgets a week after the last one; nothing of it can be
//! listed, and nothing needs to be aborted.
//! Distribution 2 wrote names with a slash before them, version 3 does not, and the library cannot remove the former. A
//! container with such names is refused rather than taken for empty.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};

use super::trouble::Sorter;
use super::{
    Certificates, Clients, Conditions, LONG, Object, Patience, QUICK, StoreError, Vendor, prefix, schedule,
};
use crate::storage::{Error, StorageKey, Trouble};

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
    /// The store in a container. What keeps it from answering is noted in `trouble`.
    ///
    /// # Errors
    /// When the options make no sense, the certificates cannot be read, the container holds a tree of distribution 2's, or
    /// does not answer: that has to be known.
    pub async fn azure(options: &AzureOptions, trouble: Trouble) -> Result<Self, StoreError> {
        let certificates = Certificates::read("storage.azure.cacert", options.ca_file.as_deref())?;
        let sorter = Sorter {
            store: format!("azure {}/{}", options.account, options.container).into(),
            trouble,
        };
        let quick = Arc::new(options.client(QUICK, &certificates)?);
        let long = Arc::new(options.client(LONG, &certificates)?);
        if has_slashes(&quick, &prefix(&options.root), &sorter).await? {
            return Err(StoreError::Slashes {
                container: options.container.clone(),
            });
        }
        Ok(Self {
            name: "azure",
            clients: Clients {
                quick: quick.clone(),
                long: long.clone(),
                write: long,
                jot: quick.clone(),
            },
            prefix: prefix(&options.root),
            sorter,
            part: schedule::PART,
            bulk_delete: false,
            conditions: Conditions::default(),
            vendor: Vendor::Azure,
            redirects: options.redirect.then_some(quick as Arc<dyn super::Store>),
        })
    }
}

/// Whether the container holds a tree as distribution 2 wrote it.
async fn has_slashes(client: &MicrosoftAzure, prefix: &str, sorter: &Sorter) -> Result<bool, Error> {
    let options = PaginatedListOptions {
        max_keys: Some(1),
        ..PaginatedListOptions::default()
    };
    let top = StorageKey::parse("docker/registry/v2")?;
    let page = client
        .list_paginated(Some(&format!("/{prefix}{top}/")), options)
        .await;
    let page = page.map_err(|error| sorter.sort("list", &top, error))?;
    Ok(!page.result.objects.is_empty())
}

impl AzureOptions {
    fn client(&self, patience: Patience, certificates: &Certificates) -> Result<MicrosoftAzure, StoreError> {
        let failed = |source| StoreError::Options {
            section: "storage.azure",
            source,
        };
        let client = certificates
            .believed_by(patience.client(self.skip_verify))
            .map_err(failed)?;
        let mut retry = patience.retry();
        if let Some(retries) = self.retries {
            retry.max_retries = retries;
        }
        if let Some(pause) = self.pause {
            retry.backoff.init_backoff = pause;
        }
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
            .with_endpoint(self.endpoint.trim_end_matches('/').to_owned())
            .with_retry(retry)
            .with_client_options(client)
            .with_allow_http(true)
            .build()
            .map_err(failed)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Asked(error)
    }
}
