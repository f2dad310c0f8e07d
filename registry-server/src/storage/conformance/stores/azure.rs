//! Azure Blob Storage: names with a slash before them, and blobs that distribution appended.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::azure::{AzureAuthorizer, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{ClientOptions, HttpConnector as _, HttpRequest, ReqwestConnector};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use serde::Deserialize;
use uuid::Uuid;

use super::variable;
use crate::storage::conformance::{Subject, get, key, put};
use crate::storage::{
    AzureCredentials, AzureOptions, Cause, Driver, Durability, Error, Mode, Object, StorageKey, StoreHealth,
};

#[derive(Deserialize)]
struct Azure {
    endpoint: String,
    accountname: String,
    accountkey: String,
    container: String,
}

/// A place of its own in the container.
fn options() -> AzureOptions {
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

pub(in crate::storage::conformance) fn plain() -> Subject {
    let options = options();
    Subject {
        driver: store(&options),
        _folder: None,
    }
}

/// A place of its own in the container, which distribution 2 had before.
pub(in crate::storage::conformance) async fn with_slash() -> Subject {
    let options = options();
    let left = "docker/registry/v2/left";
    let path = Path::from(format!("{}/{left}", options.root));
    with_slashes(&options).put(&path, "x".into()).await.unwrap();
    let driver = store(&options);
    // How names begin is remembered, so that it may go.
    driver.delete(&key(left)).await.unwrap();
    Subject {
        driver,
        _folder: None,
    }
}

fn store(options: &AzureOptions) -> Arc<dyn Driver> {
    Arc::new(Object::azure(options, StoreHealth::default()).unwrap())
}

/// A client that writes names with a slash before them, as distribution 2 does.
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

/// Makes the container, which the library does not.
async fn create(options: &AzureOptions) {
    let url = format!("{}/{}?restype=container", options.endpoint, options.container);
    send(options, http::Request::put(url), Bytes::new()).await;
}

/// Leaves a blob as distribution does that takes an upload.
async fn append(options: &AzureOptions, name: &str, bytes: &[u8]) {
    let url = format!("{}/{}/{name}", options.endpoint, options.container);
    let empty = http::Request::put(&url).header("x-ms-blob-type", "AppendBlob");
    send(options, empty, Bytes::new()).await;
    let more = http::Request::put(format!("{url}?comp=appendblock"));
    send(options, more, bytes.to_vec().into()).await;
}

async fn send(options: &AzureOptions, request: http::request::Builder, body: Bytes) {
    let credential = without_slashes(options)
        .credentials()
        .get_credential()
        .await
        .unwrap();
    let mut request: HttpRequest = request
        .header(http::header::CONTENT_LENGTH, body.len())
        .body(body.into())
        .unwrap();
    AzureAuthorizer::new(&credential, &options.account)
        .try_authorize(&mut request)
        .unwrap();
    let client = ReqwestConnector::default()
        .connect(&ClientOptions::new().with_allow_http(true))
        .unwrap();
    let answer = client.execute(request).await.unwrap();
    assert_eq!(answer.status(), http::StatusCode::CREATED);
}

#[tokio::test]
async fn what_distribution_appended_is_sent_again_in_parts() {
    for slash in ["", "/"] {
        let options = options();
        let name = "docker/registry/v2/blobs/sha256/ab/ab/data";
        let full = format!("{slash}{}/{name}", options.root);
        for (held, sent) in [("the same", "the same"), ("cut of", "cut off")] {
            append(&options, &full, held.as_bytes()).await;
            let driver = store(&options);
            let store = driver
                .large_write()
                .multipart()
                .expect("a store that takes parts");
            let upload = store.begin(&key(name)).await.unwrap();
            let (first, second) = sent.split_at(3);
            let mut receipts = Vec::new();
            for (number, part) in [first, second].into_iter().enumerate() {
                let part = vec![Bytes::from(part)];
                receipts.push(store.put_part(&key(name), &upload, number, part).await.unwrap());
            }
            assert_eq!(get(&driver, name).await, held);
            store.complete(&key(name), &upload, &receipts).await.unwrap();
            assert_eq!(get(&driver, name).await, sent);
            let left = names(&options, &format!("{slash}{}/", options.root)).await;
            assert_eq!(left, [full.trim_start_matches('/')]);
            assert_eq!(store.unfinished().await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn a_tree_of_distribution_2_is_read_extended_and_emptied_under_its_names() {
    let options = options();
    let root = &options.root;
    let (old, there) = (with_slashes(&options), key("docker/registry/v2/a/there"));
    let name = |key: &StorageKey| Path::from(format!("{root}/{key}"));
    old.put(&name(&there), "by distribution 2".into()).await.unwrap();
    let driver = store(&options);
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
    let options = options();
    let below = |root: &str| AzureOptions {
        root: format!("{}/{root}", options.root),
        ..options.clone()
    };
    let (old, new) = (below("old"), below("new"));
    let left = format!("{}/docker/registry/v2/left", old.root);
    with_slashes(&old).put(&left.into(), "x".into()).await.unwrap();
    for options in [&old, &new] {
        put(&store(options), "docker/registry/v2/a", "x").await;
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
    let options = options();
    let left = Path::from(format!("{}/docker/registry/v2/left", options.root));
    for store in [with_slashes(&options), without_slashes(&options)] {
        store.put(&left, "x".into()).await.unwrap();
    }
    let store_health = StoreHealth::default();
    let driver = Object::azure(&options, store_health.clone()).unwrap();
    let name = key("docker/registry/v2/left");
    let error = driver.get(&name, 10).await.unwrap_err();
    let cause = Cause::TwoTrees;
    assert!(
        matches!(&error, Error::Remote { cause: found, .. } if *found == cause),
        "{error:?}"
    );
    assert_eq!(store_health.problem(), Some("storage misconfigured"));
    without_slashes(&options).delete(&left).await.unwrap();
    assert_eq!(driver.get(&name, 10).await.unwrap(), "x");
}

#[tokio::test]
async fn a_container_that_comes_later_is_asked_for_its_names_then() {
    let options = AzureOptions {
        container: Uuid::new_v4().to_string(),
        ..options()
    };
    let driver = store(&options);
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
        ..options()
    };
    let driver = store(&options);
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
        ..options()
    };
    let left = format!("{}/docker/registry/v2/left", options.root);
    with_slashes(&options)
        .put(&left.into(), "x".into())
        .await
        .unwrap();
    let driver = store(&options);
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
