//! `storage.azure` of `config.yml`.

use operator_api::Azure;
use serde_json::{Value, json};

use super::needs::{ServiceNeeds, set};
use crate::validate::error::Error;

/// The service that exchanges a token for an application.
const AUDIENCE: &str = "api://AzureADTokenExchange";
/// Azure's webhook looks at Pods with this label only.
const WEBHOOK_LABEL: (&str, &str) = ("azure.workload.identity/use", "true");

pub(super) fn section(store: &Azure, needs: &mut ServiceNeeds<'_>) -> Result<Value, Error> {
    let mut section = json!({ "accountname": store.account_name, "container": store.container });
    set(&mut section, "rootdirectory", store.prefix.as_deref());
    let endpoint = store.endpoint.as_deref().map(|url| url.trim_end_matches('/'));
    set(&mut section, "serviceurl", endpoint);
    if let Some(bundle) = &store.ca_bundle {
        section["cacert"] = needs
            .ca_bundle("storage-ca.crt", bundle, "spec.storage.azure.caBundle")?
            .into();
    }
    let credentials = &store.credentials;
    if let Some(shared) = &credentials.secret {
        section["credentials"] = json!({ "type": "shared_key" });
        needs.variable(
            "REGISTRY_STORAGE_AZURE_ACCOUNTKEY",
            &shared.name,
            &shared.account_key_key,
            "spec.storage.azure.credentials.secret",
        )?;
    }
    if let Some(application) = &credentials.client_secret {
        section["credentials"] = json!({
            "type": "client_secret",
            "clientid": application.client_id,
            "tenantid": application.tenant_id,
        });
        needs.variable(
            "REGISTRY_STORAGE_AZURE_CREDENTIALS_SECRET",
            &application.secret_key_ref.name,
            &application.secret_key_ref.key,
            "spec.storage.azure.credentials.clientSecret.secretKeyRef",
        )?;
    }
    if let Some(identity) = &credentials.workload_identity {
        section["credentials"] = json!({ "type": "default_credentials" });
        match (&identity.client_id, &identity.tenant_id) {
            (Some(client), Some(tenant)) => {
                // The variables that Azure's webhook would set, so the server reads the same ones either way.
                needs.open_variable("AZURE_CLIENT_ID", client);
                needs.open_variable("AZURE_TENANT_ID", tenant);
                let token = needs.token(AUDIENCE);
                needs.open_variable("AZURE_FEDERATED_TOKEN_FILE", token);
            }
            _ => needs.supplies.labels.push(WEBHOOK_LABEL),
        }
    }
    Ok(section)
}
