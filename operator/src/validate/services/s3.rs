//! `storage.s3` of `config.yml`. Every key whose default differs between registry:2 and registry:3 is written out.

use operator_api::{S3, S3EncryptionType};
use serde_json::{Value, json};

use super::needs::{ServiceNeeds, set};
use crate::validate::error::Error;

/// The region that stores other than Amazon's use.
const REGION: &str = "us-east-1";
/// The service that exchanges a token for a role.
const AUDIENCE: &str = "sts.amazonaws.com";

pub(super) fn section(store: &S3, needs: &mut ServiceNeeds<'_>) -> Result<Value, Error> {
    let endpoint = store.endpoint.as_deref().map(|url| url.trim_end_matches('/'));
    let mut section = json!({
        "bucket": store.bucket,
        "region": store.region.as_deref().unwrap_or(REGION),
        "forcepathstyle": store.path_style.unwrap_or(endpoint.is_some()),
        "secure": endpoint.is_none_or(|url| url.starts_with("https://")),
    });
    set(&mut section, "regionendpoint", endpoint);
    set(&mut section, "rootdirectory", store.prefix.as_deref());
    set(&mut section, "storageclass", store.storage_class.as_deref());
    if let Some(encryption) = &store.encryption
        && encryption.type_ != S3EncryptionType::None
    {
        section["encrypt"] = json!(true);
        set(&mut section, "keyid", encryption.kms_key_id.as_deref());
    }
    if let Some(bundle) = &store.ca_bundle {
        section["cacert"] = needs
            .ca_bundle("storage-ca.crt", bundle, "spec.storage.s3.caBundle")?
            .into();
    }
    if let Some(keys) = &store.credentials.secret {
        let field = "spec.storage.s3.credentials.secret";
        let name = &keys.name;
        needs.variable(
            "REGISTRY_STORAGE_S3_ACCESSKEY",
            name,
            &keys.access_key_id_key,
            field,
        )?;
        needs.variable(
            "REGISTRY_STORAGE_S3_SECRETKEY",
            name,
            &keys.secret_access_key_key,
            field,
        )?;
        if let Some(token) = &keys.session_token_key {
            needs.variable("REGISTRY_STORAGE_S3_SESSIONTOKEN", name, token, field)?;
        }
    }
    if let Some(identity) = &store.credentials.workload_identity
        && let Some(role) = &identity.role_arn
    {
        // The variables that a cloud's webhook would set, so the server reads the same ones either way.
        needs.open_variable("AWS_ROLE_ARN", role);
        let token = needs.token(identity.audience.as_deref().unwrap_or(AUDIENCE));
        needs.open_variable("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    }
    Ok(section)
}
