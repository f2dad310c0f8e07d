//! From `storage.gcs` to the options of the driver for Google Cloud Storage.

use registry_config::model::{Gcs, GcsCredentials as Configured};

use crate::storage::{GcsCredentials, GcsOptions, ServiceAccount};

/// How a bucket of Google's is reached.
pub(super) fn options(gcs: &Gcs, redirect: bool) -> GcsOptions {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let credentials = match (gcs.keyfile(), gcs.credentials()) {
        (Some(path), _) => GcsCredentials::KeyFile(path.into()),
        (None, Some(credentials)) => {
            // Its only kind is known.
            let Configured {
                kind: _,
                private_key_id,
                private_key,
                client_email,
                universe_domain,
            } = credentials;
            let said = |text: &Option<String>| text.clone().unwrap_or_default();
            GcsCredentials::Key(ServiceAccount {
                client_email: said(client_email),
                private_key: private_key
                    .as_ref()
                    .map(|key| key.expose().to_owned())
                    .unwrap_or_default(),
                private_key_id: said(private_key_id),
                universe_domain: said(universe_domain),
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
