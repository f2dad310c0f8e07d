//! Builds the options of the driver for Azure Blob Storage from `storage.azure`.

use registry_config::model::{Azure, AzureCredentialsKind as Kind};

use crate::storage::{AzureCredentials, AzureOptions};

/// The address, credentials and limits of a container.
pub(super) fn options(azure: &Azure, redirect: bool) -> AzureOptions {
    let registry_config::model::AzureCredentials {
        kind,
        clientid,
        tenantid,
        secret,
    } = &azure.credentials;
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    // The check of the configuration made sure that the credentials are complete.
    let credentials = match kind {
        Some(Kind::ClientSecret) => AzureCredentials::Client {
            tenant: text(tenantid).unwrap_or_default(),
            client: text(clientid).unwrap_or_default(),
            secret: secret
                .as_ref()
                .map(|secret| secret.expose().to_owned())
                .unwrap_or_default(),
        },
        Some(Kind::DefaultCredentials) => AzureCredentials::Found,
        Some(Kind::SharedKey) | None => {
            AzureCredentials::Key(azure.key().map(|key| key.expose().to_owned()).unwrap_or_default())
        }
    };
    AzureOptions {
        account: azure.account(),
        container: azure.container.clone(),
        endpoint: azure.endpoint(),
        credentials,
        root: azure.rootdirectory.clone().unwrap_or_default(),
        skip_verify: azure.skipverify == Some(true),
        ca_file: text(&azure.cacert).map(Into::into),
        redirect,
        retries: azure.max_retries,
        pause: azure.retry_delay.and_then(|delay| delay.positive()),
    }
}
