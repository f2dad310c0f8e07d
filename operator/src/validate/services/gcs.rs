//! `storage.gcs` of `config.yml`.

use operator_api::Gcs;
use serde_json::{Value, json};

use super::needs::{ServiceNeeds, set};
use crate::validate::error::Error;

pub(super) fn section(store: &Gcs, needs: &mut ServiceNeeds<'_>) -> Result<Value, Error> {
    let mut section = json!({ "bucket": store.bucket });
    set(&mut section, "rootdirectory", store.prefix.as_deref());
    // Without a key file the server asks the metadata server for its identity.
    if let Some(secret) = &store.credentials.secret {
        let field = "spec.storage.gcs.credentials.secret";
        section["keyfile"] = needs
            .file(
                "storage-key.json",
                &secret.name,
                &secret.key_file_key,
                field,
                key_file,
            )?
            .into();
    }
    Ok(section)
}

fn key_file(bytes: &[u8]) -> Result<(), &'static str> {
    // The parser's message may quote the file.
    let file: Value = serde_json::from_slice(bytes).map_err(|_| "is not JSON")?;
    let has = |member: &str| file[member].as_str().is_some_and(|text| !text.is_empty());
    if has("client_email") && has("private_key") {
        return Ok(());
    }
    Err("is not a service account's key file: it lacks `client_email` or `private_key`")
}
