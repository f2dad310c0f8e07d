//! Real object stores. Where they are is told by variables, which `cargo xtask test` and `cargo xtask stores` set.

use std::sync::Arc;

use object_store::ObjectStoreExt as _;
use object_store::azure::{AzureAuthorizer, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{
    ClientOptions, HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use serde::Deserialize;
use uuid::Uuid;

use super::{Subject, get, key, put};
use crate::storage::{
    AzureCredentials, AzureOptions, Cause, Driver, Durability, Error, GcsCredentials, GcsOptions, Mode,
    Object, S3Credentials, S3Options, ServiceAccount, StorageKey, Trouble,
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

pub(super) fn azure() -> Subject {
    let options = azure_options();
    Subject {
        driver: azure_store(&options),
        _folder: None,
    }
}

/// A place of its own in the container, which distribution 2 had before.
pub(super) async fn azure_with_slashes() -> Subject {
    let options = azure_options();
    let left = "docker/registry/v2/left";
    let path = Path::from(format!("{}/{left}", options.root));
    with_slashes(&options).put(&path, "x".into()).await.unwrap();
    let driver = azure_store(&options);
    // How names begin is remembered, so that it may go.
    driver.delete(&key(left)).await.unwrap();
    Subject {
        driver,
        _folder: None,
    }
}

fn azure_store(options: &AzureOptions) -> Arc<dyn Driver> {
    Arc::new(Object::azure(options, Trouble::default()).unwrap())
}

/// What writes names with a slash before them, as distribution 2 does.
fn with_slashes(options: &AzureOptions) -> MicrosoftAzure {
    // A container in the address and none in the path leaves an empty component: the slash.
    raw(
        options,
        &format!("{}/{}", options.endpoint, options.container),
        "",
    )
}

/// The container, names as they are.
fn without_slashes(options: &AzureOptions) -> MicrosoftAzure {
    raw(options, &options.endpoint, &options.container)
}

fn raw(options: &AzureOptions, endpoint: &str, container: &str) -> MicrosoftAzure {
    let AzureCredentials::Key(key) = &options.credentials else {
        panic!("another kind of credentials");
    };
    MicrosoftAzureBuilder::new()
        .with_account(&options.account)
        .with_access_key(key)
        .with_endpoint(endpoint.to_owned())
        .with_container_name(container)
        .with_allow_http(true)
        .build()
        .unwrap()
}

/// Every name in the container that begins like this, as the store lists it.
async fn names(options: &AzureOptions, prefix: &str) -> Vec<String> {
    let container = without_slashes(options);
    let found = container.list_paginated(Some(prefix), PaginatedListOptions::default());
    let found = found.await.unwrap();
    assert_eq!(found.page_token, None);
    let objects = found.result.objects.into_iter();
    objects.map(|found| found.location.to_string()).collect()
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

/// Makes the container, which the library does not.
async fn create(options: &AzureOptions) {
    let credential = without_slashes(options)
        .credentials()
        .get_credential()
        .await
        .unwrap();
    let url = format!("{}/{}?restype=container", options.endpoint, options.container);
    let mut request: HttpRequest = http::Request::put(url)
        .header(http::header::CONTENT_LENGTH, 0)
        .body(HttpRequestBody::empty())
        .unwrap();
    AzureAuthorizer::new(&credential, &options.account)
        .try_authorize(&mut request)
        .unwrap();
    let created = ReqwestConnector::default()
        .connect(&ClientOptions::new().with_allow_http(true))
        .unwrap()
        .execute(request)
        .await
        .unwrap();
    assert_eq!(created.status(), http::StatusCode::CREATED);
}

#[tokio::test]
async fn a_tree_of_distribution_2_is_read_extended_and_emptied_under_its_names() {
    let options = azure_options();
    let root = &options.root;
    let (old, there) = (with_slashes(&options), key("docker/registry/v2/a/there"));
    let name = |key: &StorageKey| Path::from(format!("{root}/{key}"));
    old.put(&name(&there), "by distribution 2".into()).await.unwrap();
    let driver = azure_store(&options);
    assert_eq!(get(&driver, there.as_str()).await, "by distribution 2");
    put(&driver, "docker/registry/v2/a/new", "by us").await;
    let new = old.get(&name(&key("docker/registry/v2/a/new"))).await.unwrap();
    assert_eq!(new.bytes().await.unwrap(), "by us");
    let of_both = [
        format!("{root}/docker/registry/v2/a/new"),
        format!("{root}/docker/registry/v2/a/there"),
    ];
    assert_eq!(names(&options, &format!("/{root}/")).await, of_both);
    driver
        .delete_tree(&key("docker"), Durability::PowerLoss)
        .await
        .unwrap();
    for slash in ["/", ""] {
        assert_eq!(
            names(&options, &format!("{slash}{root}/")).await,
            [""; 0],
            "{slash}"
        );
    }
}

#[tokio::test]
async fn each_root_of_a_container_keeps_its_names() {
    let options = azure_options();
    let below = |root: &str| AzureOptions {
        root: format!("{}/{root}", options.root),
        ..options.clone()
    };
    let (old, new) = (below("old"), below("new"));
    let left = format!("{}/docker/registry/v2/left", old.root);
    with_slashes(&old).put(&left.into(), "x".into()).await.unwrap();
    for options in [&old, &new] {
        put(&azure_store(options), "docker/registry/v2/a", "x").await;
    }
    let root = &options.root;
    let with = [
        format!("{root}/old/docker/registry/v2/a"),
        format!("{root}/old/docker/registry/v2/left"),
    ];
    assert_eq!(names(&options, &format!("/{root}/")).await, with);
    let without = [format!("{root}/new/docker/registry/v2/a")];
    assert_eq!(names(&options, &format!("{root}/")).await, without);
}

#[tokio::test]
async fn a_root_with_both_kinds_of_names_is_not_served_until_one_is_gone() {
    let options = azure_options();
    let left = Path::from(format!("{}/docker/registry/v2/left", options.root));
    for store in [with_slashes(&options), without_slashes(&options)] {
        store.put(&left, "x".into()).await.unwrap();
    }
    let trouble = Trouble::default();
    let driver = Object::azure(&options, trouble.clone()).unwrap();
    let name = key("docker/registry/v2/left");
    let error = driver.get(&name, 10).await.unwrap_err();
    let cause = Cause::TwoTrees;
    assert!(
        matches!(&error, Error::Remote { cause: found, .. } if *found == cause),
        "{error:?}"
    );
    assert_eq!(trouble.current(), Some("storage misconfigured"));
    without_slashes(&options).delete(&left).await.unwrap();
    assert_eq!(driver.get(&name, 10).await.unwrap(), "x");
}

#[tokio::test]
async fn a_container_that_comes_later_is_asked_for_its_names_then() {
    let options = AzureOptions {
        container: Uuid::new_v4().to_string(),
        ..azure_options()
    };
    let driver = azure_store(&options);
    let name = "docker/registry/v2/left";
    let error = driver.get(&key(name), 10).await.unwrap_err();
    let cause = Cause::NoBucket;
    assert!(
        matches!(&error, Error::Remote { cause: found, .. } if *found == cause),
        "{error:?}"
    );
    create(&options).await;
    let left = format!("{}/{name}", options.root);
    with_slashes(&options)
        .put(&left.into(), "x".into())
        .await
        .unwrap();
    assert_eq!(get(&driver, name).await, "x");
}

#[tokio::test]
async fn a_wrong_key_is_refused_by_requests_and_not_by_the_start() {
    let options = AzureOptions {
        credentials: AzureCredentials::Key("c3dvcmRmaXNo".to_owned()),
        ..azure_options()
    };
    let driver = azure_store(&options);
    let name = key("docker/registry/v2/a");
    let errors = [
        driver.get(&name, 10).await.map(drop),
        driver.delete(&name).await,
        driver
            .put(&name, "x".into(), Mode::Replace, Durability::PowerLoss)
            .await,
        driver.list(&name).await.map(drop),
    ];
    for error in errors {
        let error = error.unwrap_err();
        let cause = Cause::Refused;
        assert!(
            matches!(&error, Error::Remote { cause: found, .. } if *found == cause),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn clients_are_sent_to_names_with_a_slash() {
    let options = AzureOptions {
        redirect: true,
        ..azure_options()
    };
    let left = format!("{}/docker/registry/v2/left", options.root);
    with_slashes(&options)
        .put(&left.into(), "x".into())
        .await
        .unwrap();
    let driver = azure_store(&options);
    let url = driver
        .redirect(&key("docker/registry/v2/left"))
        .await
        .unwrap()
        .unwrap();
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
        (200, "x")
    );
}
