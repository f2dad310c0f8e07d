//! Builds the options of the driver for Google Cloud Storage from `storage.gcs`.

use registry_config::model::Gcs;

use crate::storage::{GcsCredentials, GcsOptions, ServiceAccount};

/// The address, credentials and limits of a bucket.
pub(super) fn options(gcs: &Gcs, redirect: bool) -> GcsOptions {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let credentials = match (gcs.keyfile(), gcs.credentials()) {
        (Some(path), _) => GcsCredentials::KeyFile(path.into()),
        (None, Some(credentials)) => {
            // There is only one kind.
            let registry_config::model::GcsCredentials {
                kind: _,
                private_key_id,
                private_key,
                client_email,
                universe_domain,
            } = credentials;
            let text_or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
            GcsCredentials::Key(ServiceAccount {
                client_email: text_or_empty(client_email),
                private_key: private_key
                    .as_ref()
                    .map(|key| key.expose().to_owned())
                    .unwrap_or_default(),
                private_key_id: text_or_empty(private_key_id),
                universe_domain: text_or_empty(universe_domain),
            })
        }
        (None, None) => GcsCredentials::Found,
    };
    GcsOptions {
        bucket: gcs.bucket.clone(),
        endpoint: text(&gcs.endpoint),
        credentials,
        root: gcs.rootdirectory.clone().unwrap_or_default(),
        part_size: gcs.chunksize,
        ca_file: text(&gcs.cacert).map(Into::into),
        user_agent: text(&gcs.useragent),
        redirect,
    }
}
