//! Tests that no emulator allows: tokens, and a container that fails, is slow or does not exist.

use super::*;
use crate::storage::object::canned_answers::{Answer, answering};
use crate::storage::{Cause, Driver as _, Durability, Error, Mode, Multipart as _, StorageKey};

/// A page of a list with a name in it, without one, and one that is not the last.
const FOUND: Answer = Some((
    200,
    "<EnumerationResults><Blobs><Blob><Name>/deck/docker/registry/v2/left</Name><Properties>\
     <Last-Modified>Wed, 02 Sep 2020 07:40:43 GMT</Last-Modified><Content-Length>1</Content-Length>\
     <Content-Type>application/octet-stream</Content-Type></Properties></Blob></Blobs><NextMarker /></EnumerationResults>",
));
const NOTHING: Answer = Some((
    200,
    "<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>",
));
const NOTHING_YET: Answer = Some((
    200,
    "<EnumerationResults><Blobs /><NextMarker>here</NextMarker></EnumerationResults>",
));
const REMOVED: Answer = Some((202, ""));

const WITH_SLASH: &str = "get /ship/hold?restype=container&comp=list&prefix=%2fdeck%2fdocker%2f&maxresults=1";
const WITHOUT: &str =
    "get /ship/hold?restype=container&comp=list&prefix=deck%2fdocker%2fregistry%2fv2%2f&maxresults=1";

fn container(address: &str) -> Object {
    let options = AzureOptions {
        account: "ship".to_owned(),
        container: "hold".to_owned(),
        endpoint: format!("{address}/ship"),
        root: "deck".to_owned(),
        redirect: true,
        ..AzureOptions::default()
    };
    options
        .open(StoreHealth::default(), |builder| {
            builder.with_bearer_token_authorization("token")
        })
        .unwrap()
}

fn key(text: &str) -> StorageKey {
    StorageKey::parse(text).unwrap()
}

#[tokio::test]
async fn how_names_begin_is_asked_once_to_the_last_page() {
    let (address, seen) = answering([NOTHING_YET, FOUND, NOTHING, REMOVED, REMOVED]).await;
    let container = container(&address);
    for name in ["a", "b/c"] {
        container.delete_all(&[key(name)]).await.unwrap();
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [
            WITH_SLASH,
            "get /ship/hold?restype=container&comp=list&prefix=%2fdeck%2fdocker%2f&marker=here&maxresults=1",
            WITHOUT,
            "delete /ship/hold//deck/a",
            "delete /ship/hold//deck/b/c",
        ]
    );
}

#[tokio::test]
async fn how_names_begin_is_asked_again_after_a_failure() {
    let gone = Some((404, "<Error><Code>ContainerNotFound</Code></Error>"));
    let (address, seen) = answering([gone, NOTHING, REMOVED]).await;
    let container = container(&address);
    let error = container.delete_all(&[key("a")]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Remote { cause, .. } if *cause == Cause::NoBucket),
        "{error:?}"
    );
    container.delete_all(&[key("a")]).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [WITH_SLASH, WITH_SLASH, "delete /ship/hold/deck/a"]
    );
}

#[tokio::test]
async fn an_object_is_removed_again_while_the_failure_is_temporary() {
    let missing = Some((404, "<Error><Code>BlobNotFound</Code></Error>"));
    for answers in [
        [Some((503, "")), Some((500, "")), REMOVED],
        [None, Some((429, "")), missing],
    ] {
        let (address, seen) = answering([NOTHING].into_iter().chain(answers)).await;
        container(&address).delete_all(&[key("a")]).await.unwrap();
        assert_eq!(seen.lock().unwrap().len(), 4);
    }
    for (answer, expected) in [
        ((403, ""), Cause::Refused),
        ((404, "<Code>ContainerNotFound</Code>"), Cause::NoBucket),
        ((409, "<Code>SnapshotsPresent</Code>"), Cause::Failed),
    ] {
        let (address, _) = answering([NOTHING, Some(answer)]).await;
        let error = container(&address).delete_all(&[key("a")]).await.unwrap_err();
        assert!(
            matches!(&error, Error::Remote { cause, .. } if *cause == expected),
            "{answer:?}: {error:?}"
        );
    }
}

const OTHER_KIND: Answer = Some((409, "<Error><Code>InvalidBlobType</Code></Error>"));

async fn put(container: &Object, mode: Mode) -> Result<(), Error> {
    let bytes = bytes::Bytes::from_static(b"hello");
    container.put(&key("a"), bytes, mode, Durability::PowerLoss).await
}

#[tokio::test]
async fn an_appended_blob_is_made_young_by_a_write_of_what_it_holds() {
    let (address, seen) = answering([NOTHING, OTHER_KIND, Some((200, "hello")), Some((200, ""))]).await;
    put(&container(&address), Mode::Replace).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            WITH_SLASH,
            "put /ship/hold/deck/a hello",
            "get /ship/hold/deck/a",
            "put /ship/hold/deck/a?comp=metadata"
        ]
    );
}

#[tokio::test]
async fn an_appended_blob_that_holds_something_else_is_removed_before_it_is_written() {
    for held in ["hellO", "hello, world"] {
        let answers = [NOTHING, OTHER_KIND, Some((200, held)), REMOVED, Some((201, ""))];
        let (address, seen) = answering(answers).await;
        put(&container(&address), Mode::Replace).await.unwrap();
        assert_eq!(
            seen.lock().unwrap()[1..],
            [
                "put /ship/hold/deck/a hello",
                "get /ship/hold/deck/a",
                "delete /ship/hold/deck/a",
                "put /ship/hold/deck/a hello"
            ]
        );
    }
}

#[tokio::test]
async fn an_appended_blob_is_never_removed_for_a_write_that_expects_none() {
    let (address, seen) = answering([NOTHING, OTHER_KIND]).await;
    let error = put(&container(&address), Mode::Create).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_copy_meets_an_appended_blob() {
    for (held, expected) in [
        (12, vec!["put /ship/hold/deck/a?comp=metadata"]),
        (5, vec!["delete /ship/hold/deck/a", "put /ship/hold/deck/a"]),
    ] {
        let text = &"hello, world"[..held];
        let head = [
            NOTHING,
            OTHER_KIND,
            Some((200, "hello, world")),
            Some((200, text)),
        ];
        let (address, seen) = answering(head.into_iter().chain([Some((202, "")); 2])).await;
        container(&address).copy(&key("b"), &key("a"), 12).await.unwrap();
        assert_eq!(
            seen.lock().unwrap()[1..],
            [
                vec![
                    "put /ship/hold/deck/a",
                    "head /ship/hold/deck/b",
                    "head /ship/hold/deck/a"
                ],
                expected
            ]
            .concat()
        );
    }
}

#[tokio::test]
async fn the_owner_of_a_token_signs_urls_by_a_key_of_the_account() {
    let signing = Some((
        200,
        "<UserDelegationKey><SignedOid>me</SignedOid><SignedTid>us</SignedTid>\
         <SignedStart>2026-01-01T00:00:00Z</SignedStart><SignedExpiry>2999-01-02T00:00:00Z</SignedExpiry>\
         <SignedService>b</SignedService><SignedVersion>2023-11-03</SignedVersion>\
         <Value>c3dvcmRmaXNo</Value></UserDelegationKey>",
    ));
    for (answers, path) in [
        (vec![FOUND, NOTHING, signing], "/ship/hold//deck/a/b"),
        (vec![NOTHING, signing], "/ship/hold/deck/a/b"),
    ] {
        let (address, seen) = answering(answers).await;
        let url = container(&address).redirect(&key("a/b")).await.unwrap().unwrap();
        let url: reqwest::Url = url.parse().unwrap();
        assert_eq!(url.path(), path);
        let said = |name: &str| {
            url.query_pairs()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value)
        };
        assert_eq!(said("skoid").as_deref(), Some("me"));
        assert_eq!(said("sp").as_deref(), Some("r"));
        assert!(said("sig").is_some());
        let seen = seen.lock().unwrap();
        let asked = seen.last().unwrap();
        assert!(
            asked.starts_with("post /ship?restype=service&comp=userdelegationkey "),
            "{asked}"
        );
    }
}

#[test]
fn credentials_do_not_print_themselves() {
    let options = AzureOptions {
        account: "ship".to_owned(),
        container: "hold".to_owned(),
        endpoint: "https://ship.blob.core.windows.net".to_owned(),
        credentials: AzureCredentials::Key("c3dvcmRmaXNo".to_owned()),
        ..AzureOptions::default()
    };
    let driver = Object::azure(&options, StoreHealth::default()).unwrap();
    let calls = format!("{options:?}{driver:?}{:?}", driver.clients.quick);
    assert!(
        !calls.contains("c3dvcmRmaXNo") && !calls.contains("swordfish"),
        "{calls}"
    );
}
