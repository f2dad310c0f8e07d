//! The options of `storage.azure`, and the library's client that they make.

use std::path::PathBuf;

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};

use crate::storage::object::client::{Certificates, StoreError, Timeouts};

/// The section of the configuration.
const SECTION: &str = "storage.azure";

/// The options of `storage.azure`.
#[derive(Debug, Clone, Default)]
pub struct AzureOptions {
    /// The account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The address of the account's blobs.
    pub endpoint: String,
    /// The credentials.
    pub credentials: AzureCredentials,
    /// Prefix of all object names.
    pub root: String,
    /// Whether server certificates are not verified.
    pub skip_verify: bool,
    /// A PEM file of CA certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether clients are redirected to the store for blobs.
    pub redirect: bool,
    /// The number of retries of a request.
    pub retries: Option<usize>,
    /// The pause before the first retry.
    pub pause: Option<std::time::Duration>,
}

/// The credentials for Azure. `Debug` does not print them.
#[derive(Clone, Default)]
pub enum AzureCredentials {
    /// Those of the environment or the machine: a workload's token, a managed identity.
    #[default]
    Found,
    /// The account's key.
    Key(String),
    /// An application of Microsoft Entra.
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

pub(super) fn failed(source: object_store::Error) -> StoreError {
    StoreError::Options {
        section: SECTION,
        source,
    }
}

impl AzureOptions {
    /// The account's address, without a slash at the end.
    pub(super) fn address(&self) -> &str {
        self.endpoint.trim_end_matches('/')
    }

    pub(super) fn builder(&self) -> MicrosoftAzureBuilder {
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

    pub(super) fn client(
        &self,
        builder: MicrosoftAzureBuilder,
        timeouts: Timeouts,
        certificates: &Certificates,
    ) -> Result<MicrosoftAzure, StoreError> {
        let timeouts = self.timeouts(timeouts);
        let client = certificates.trusted_by(timeouts.client(self.skip_verify));
        builder
            .with_retry(timeouts.retry())
            .with_client_options(client.map_err(failed)?)
            .with_allow_http(true)
            .build()
            .map_err(failed)
    }

    pub(super) fn timeouts(&self, timeouts: Timeouts) -> Timeouts {
        Timeouts {
            retries: self.retries.unwrap_or(timeouts.retries),
            backoff: self.pause.unwrap_or(timeouts.backoff),
            ..timeouts
        }
    }
}
