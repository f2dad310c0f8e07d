//! Real object stores. Where they are is told by variables, which `cargo xtask test` and `cargo xtask stores` set.

pub(super) mod azure;

use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::Subject;
use crate::storage::{
    Driver, GcsCredentials, GcsOptions, Object, S3Credentials, S3Options, ServiceAccount, StoreHealth,
};

fn variable<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let text =
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `cargo xtask stores` says how"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[derive(Deserialize)]
struct S3 {
    endpoint: String,
    region: String,
    bucket: String,
    accesskey: String,
    secretkey: String,
}

/// A place of its own in the bucket.
pub(super) fn s3() -> Subject {
    Subject {
        driver: s3_below(&Uuid::new_v4().to_string()),
        _folder: None,
    }
}

/// A place in the bucket.
pub(crate) fn s3_below(root: &str) -> Arc<dyn Driver> {
    let S3 {
        endpoint,
        region,
        bucket,
        accesskey,
        secretkey,
    } = variable("BERTH_TEST_S3");
    let options = S3Options {
        endpoint: Some(endpoint),
        region: Some(region),
        bucket,
        credentials: Some(S3Credentials {
            access_key: accesskey,
            secret_key: secretkey,
            session_token: None,
        }),
        root: root.to_owned(),
        part_size: Some(5 << 20),
        // So that both ways of copying are gone.
        copy_whole_up_to: Some(6 << 20),
        copy_piece: Some(5 << 20),
        ..S3Options::default()
    };
    Arc::new(Object::s3(&options, StoreHealth::default()).unwrap())
}

/// A place of its own in the container.
pub(crate) fn in_azure() -> Arc<dyn Driver> {
    azure::plain().driver
}

#[derive(Deserialize)]
struct Gcs {
    endpoint: String,
    bucket: String,
    credentials: ServiceAccount,
}

/// A place of its own in the bucket.
pub(super) fn gcs() -> Subject {
    Subject {
        driver: gcs_below(&Uuid::new_v4().to_string()),
        _folder: None,
    }
}

/// A place in the bucket.
pub(crate) fn gcs_below(root: &str) -> Arc<dyn Driver> {
    let Gcs {
        endpoint,
        bucket,
        credentials,
    } = variable("BERTH_TEST_GCS");
    let options = GcsOptions {
        endpoint: Some(endpoint),
        bucket,
        credentials: GcsCredentials::Key(credentials),
        root: root.to_owned(),
        part_size: Some(5 << 20),
        redirect: true,
        ..GcsOptions::default()
    };
    Arc::new(Object::gcs(&options, StoreHealth::default()).unwrap())
}
