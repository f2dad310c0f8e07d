//! `storage.s3` of `config.yml`. Every key that distribution's two lines read differently is written out.

use operator_api::{S3, S3EncryptionType};
use serde_json::{Value, json};

use super::{Gather, set};
use crate::validate::Error;

/// What stores that are not Amazon's take for their own.
const REGION: &str = "us-east-1";
/// Whom a token for a role is for.
const AUDIENCE: &str = "sts.amazonaws.com";

pub(super) fn section(store: &S3, services: &mut Gather<'_>) -> Result<Value, Error> {
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
        section["cacert"] = services
            .ca_bundle("storage-ca.crt", bundle, "spec.storage.s3.caBundle")?
            .into();
    }
    if let Some(keys) = &store.credentials.secret {
        let field = "spec.storage.s3.credentials.secret";
        let name = &keys.name;
        services.variable(
            "REGISTRY_STORAGE_S3_ACCESSKEY",
            name,
            &keys.access_key_id_key,
            field,
        )?;
        services.variable(
            "REGISTRY_STORAGE_S3_SECRETKEY",
            name,
            &keys.secret_access_key_key,
            field,
        )?;
        if let Some(token) = &keys.session_token_key {
            services.variable("REGISTRY_STORAGE_S3_SESSIONTOKEN", name, token, field)?;
        }
    }
    if let Some(identity) = &store.credentials.workload_identity
        && let Some(role) = &identity.role_arn
    {
        // The names that a cloud's webhook would set, so that the server need not know who did.
        services.open_variable("AWS_ROLE_ARN", role);
        let token = services.token(identity.audience.as_deref().unwrap_or(AUDIENCE));
        services.open_variable("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    }
    Ok(section)
}
