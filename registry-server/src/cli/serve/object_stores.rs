//! Opens the driver of the object store in `storage.s3`, `storage.azure` or `storage.gcs`.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "s3")]
mod s3;

use registry_config::model::Storage;

use crate::storage::{Object, StoreError, StoreHealth};

/// The configured object store, if there is one that this binary was built with. The driver notes in `store_health`
/// whether the store answers.
pub(super) fn open(storage: &Storage, store_health: &StoreHealth) -> Result<Option<Object>, StoreError> {
    let redirect = storage.redirect.disable != Some(true);
    #[cfg(feature = "s3")]
    if let Some(configured) = &storage.s3 {
        return Ok(Some(Object::s3(
            &s3::options(configured, redirect),
            store_health.clone(),
        )?));
    }
    #[cfg(feature = "azure")]
    if let Some(configured) = &storage.azure {
        return Ok(Some(Object::azure(
            &azure::options(configured, redirect),
            store_health.clone(),
        )?));
    }
    #[cfg(feature = "gcs")]
    if let Some(configured) = &storage.gcs {
        return Ok(Some(Object::gcs(
            &gcs::options(configured, redirect),
            store_health.clone(),
        )?));
    }
    Ok(None)
}
