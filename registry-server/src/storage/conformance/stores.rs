//! Real object stores. Where they are is told by variables, which `cargo xtask test` and `cargo xtask stores` set.

use std::sync::Arc;

use object_store::ObjectStoreExt as _;
use object_store::azure::MicrosoftAzureBuilder;
use serde::Deserialize;
use uuid::Uuid;

use super::Subject;
use crate::storage::{
    AzureCredentials, AzureOptions, Driver, GcsCredentials, GcsOptions, Object, S3Credentials, S3Options,
    ServiceAccount, StoreError, Trouble,
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
    Arc::new(Object::s3(&options, Trouble::default()).unwrap())
}

#[derive(Deserialize)]
struct Azure {
    endpoint: String,
    accountname: String,
    accountkey: String,
    container: String,
}

/// A place of its own in the container.
fn azure_options() -> AzureOptions {
    let Azure {
        endpoint,
        accountname,
        accountkey,
        container,
    } = variable("BERTH_TEST_AZURE");
    AzureOptions {
        endpoint,
        account: accountname,
        credentials: AzureCredentials::Key(accountkey),
        container,
        root: Uuid::new_v4().to_string(),
        ..AzureOptions::default()
    }
}

pub(super) async fn azure() -> Subject {
    let options = azure_options();
    Subject {
        driver: Arc::new(Object::azure(&options, Trouble::default()).await.unwrap()),
        _folder: None,
    }
}

/// The same for other rooms.
pub(crate) async fn azure_driver() -> Arc<dyn Driver> {
    azure().await.driver
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
    Arc::new(Object::gcs(&options, Trouble::default()).unwrap())
}

#[tokio::test]
async fn a_container_with_names_of_distribution_2_is_refused() {
    let options = azure_options();
    // A container in the address and none in the path leaves an empty component: the slash.
    let old = MicrosoftAzureBuilder::new()
        .with_account(&options.account)
        .with_endpoint(format!("{}/{}", options.endpoint, options.container))
        .with_container_name("")
        .with_allow_http(true);
    let AzureCredentials::Key(key) = &options.credentials else {
        panic!("another kind of credentials");
    };
    let old = old.with_access_key(key).build().unwrap();
    let name = format!("{}/docker/registry/v2/left", options.root);
    old.put(&name.into(), "by distribution 2".into()).await.unwrap();
    let error = Object::azure(&options, Trouble::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Slashes { .. }), "{error}");
}
