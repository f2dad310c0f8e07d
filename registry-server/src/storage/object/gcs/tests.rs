//! Tests that no emulator allows: a bucket that fails, is slow or does not exist.

use bytes::Bytes;
use rcgen::{KeyPair, PKCS_RSA_SHA256};

use super::*;
use crate::storage::object::canned_answers::{Answer, answering};
use crate::storage::{
    Cause, Driver as _, Durability, Expected, Mode, Multipart as _, Reclaim as _, StorageKey,
};

const WRITTEN: Answer = Some((200, r#"{"generation":"7"}"#));

fn account() -> ServiceAccount {
    ServiceAccount {
        client_email: "ship@yard.example".to_owned(),
        private_key: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_pem(),
        ..ServiceAccount::default()
    }
}

fn bucket(address: &str) -> Object {
    let options = GcsOptions {
        bucket: "hold".to_owned(),
        endpoint: Some(address.to_owned()),
        credentials: GcsCredentials::Key(account()),
        root: "deck".to_owned(),
        redirect: true,
        ..GcsOptions::default()
    };
    Object::gcs(&options, StoreHealth::default()).unwrap()
}

fn key(text: &str) -> StorageKey {
    StorageKey::parse(text).unwrap()
}

async fn put(bucket: &Object, mode: Mode) -> Result<(), crate::storage::Error> {
    bucket
        .put(
            &key("a/b"),
            Bytes::from_static(b"hello"),
            mode,
            Durability::PowerLoss,
        )
        .await
}

const PUT: &str = "post /upload/storage/v1/b/hold/o?uploadtype=media&fields=generation&name=deck%2fa%2fb";

#[tokio::test]
async fn a_bucket_that_is_overloaded_or_does_not_answer_is_asked_again() {
    for trouble in [Some((503, "")), Some((429, "")), Some((408, "")), None] {
        let (address, seen) = answering([trouble, trouble, WRITTEN]).await;
        put(&bucket(&address), Mode::Replace).await.unwrap();
        assert_eq!(
            *seen.lock().unwrap(),
            [
                format!("{PUT} hello"),
                format!("{PUT} hello"),
                format!("{PUT} hello")
            ]
        );
    }
}

#[tokio::test]
async fn a_conditional_write_whose_answer_got_lost_is_not_sent_again() {
    let (address, seen) = answering([None, WRITTEN]).await;
    let error = put(&bucket(&address), Mode::Create).await.unwrap_err();
    assert!(matches!(error, crate::storage::Error::Remote { .. }), "{error:?}");
    assert_eq!(
        *seen.lock().unwrap(),
        [format!("{PUT}&ifgenerationmatch=0 hello")]
    );
    // A request that the bucket refused may be sent again.
    let (address, seen) = answering([Some((503, "")), WRITTEN]).await;
    let version = bucket(&address)
        .put_blocks(&key("a/b"), vec![Bytes::from_static(b"hello")], Expected::Nothing)
        .await
        .unwrap();
    assert_eq!(version.number.as_deref(), Some("7"));
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_does_not_pass_is_asked_once_and_says_who_must_act() {
    let gone = r#"{"error":{"code":404,"message":"The specified bucket does not exist."}}"#;
    for (answer, cause) in [
        ((401, ""), Cause::Refused),
        ((403, ""), Cause::Refused),
        ((404, gone), Cause::NoBucket),
        ((400, ""), Cause::Failed),
    ] {
        let (address, seen) = answering([Some(answer)]).await;
        let error = put(&bucket(&address), Mode::Replace).await.unwrap_err();
        assert!(
            matches!(error, crate::storage::Error::Remote { cause: found, .. } if found == cause),
            "{answer:?}: {error:?}"
        );
        assert_eq!(seen.lock().unwrap().len(), 1, "{answer:?}");
    }
    let (address, _) = answering([Some((404, "{}"))]).await;
    let Err(error) = bucket(&address).list(&key("a")).await else {
        panic!("a bucket that is not there was listed");
    };
    assert!(
        matches!(
            error,
            crate::storage::Error::Remote {
                cause: Cause::NoBucket,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_large_copy_goes_on_until_it_is_done() {
    let (address, seen) = answering([
        Some((200, r#"{"done":false,"rewriteToken":"x/y="}"#)),
        Some((503, "")),
        Some((200, r#"{"done":true}"#)),
    ])
    .await;
    bucket(&address)
        .copy(&key("a/b"), &key("c"), 1 << 40)
        .await
        .unwrap();
    let line = "post /storage/v1/b/hold/o/deck%2fa%2fb/rewriteto/b/hold/o/deck%2fc?fields=done,rewritetoken";
    let again = format!("{line}&rewritetoken=x%2fy%3d");
    assert_eq!(*seen.lock().unwrap(), [line.to_owned(), again.clone(), again]);
}

#[tokio::test]
async fn pages_are_asked_for_with_the_token_of_the_one_before() {
    let (address, seen) = answering([
        Some((200, r#"{"prefixes":["deck/a/x/"],"nextPageToken":"t="}"#)),
        Some((200, r#"{"prefixes":["deck/a/x/","deck/a/y/"]}"#)),
    ])
    .await;
    let listing = bucket(&address).list(&key("a")).await.unwrap();
    let names: Vec<String> = listing.map(|entry| entry.unwrap().name).collect().await;
    assert_eq!(names, ["x", "y"]);
    let seen = seen.lock().unwrap();
    let line = "get /storage/v1/b/hold/o?fields=prefixes,items(name,size,updated,generation),nextpagetoken&prefix=deck%2fa%2f";
    assert_eq!(
        *seen,
        [
            format!("{line}&delimiter=%2f"),
            format!("{line}&pagetoken=t%3d&delimiter=%2f")
        ]
    );
}

#[tokio::test]
async fn clients_are_sent_to_a_signed_url_that_tells_no_key() {
    let bucket = bucket("http://store.example");
    let url = bucket.redirect(&key("a/b")).await.unwrap().unwrap();
    assert!(url.starts_with("http://store.example/hold/deck/a/b?"), "{url}");
    assert!(
        url.contains("X-Goog-Expires=1200") && url.contains("X-Goog-Signature="),
        "{url}"
    );
}

#[test]
fn a_bucket_lies_at_googles_address_at_its_universes_or_at_an_emulators() {
    let address = |endpoint: Option<&str>, universe: &str| {
        let options = GcsOptions {
            endpoint: endpoint.map(str::to_owned),
            ..GcsOptions::default()
        };
        let account = ServiceAccount {
            universe_domain: universe.to_owned(),
            ..ServiceAccount::default()
        };
        options.address(Some(&account))
    };
    assert_eq!(address(None, ""), "https://storage.googleapis.com");
    assert_eq!(address(None, "cloud.example"), "https://storage.cloud.example");
    assert_eq!(
        address(Some("http://127.0.0.1:4443/"), ""),
        "http://127.0.0.1:4443"
    );
    assert_eq!(
        address(Some("store.example"), "cloud.example"),
        "https://store.example"
    );
}

#[test]
fn a_key_file_that_is_none_is_refused_without_a_word_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let read = |text: Option<&str>| {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let options = GcsOptions {
            bucket: "hold".to_owned(),
            credentials: GcsCredentials::KeyFile(path.clone()),
            ..GcsOptions::default()
        };
        let error = Object::gcs(&options, StoreHealth::default()).unwrap_err();
        let text = crate::fault::chain(&error);
        assert!(!text.contains("swordfish"), "{text}");
        text.replace(&path.display().to_string(), "key.json")
    };
    let none = "`storage.gcs.keyfile`, `key.json`, is not a service account's key: ";
    assert_eq!(
        read(None),
        "cannot read `storage.gcs.keyfile`, `key.json`: No such file or directory (os error 2)"
    );
    assert_eq!(
        read(Some("\"swordfish\"")),
        format!("{none}it is not a JSON object of texts")
    );
    assert_eq!(
        read(Some(r#"{"client_email": ["swordfish"]}"#)),
        format!("{none}it is not a JSON object of texts")
    );
    assert_eq!(
        read(Some(r#"{"private_key": "swordfish"}"#)),
        format!("{none}it has no `client_email`")
    );
    assert_eq!(
        read(Some(r#"{"client_email": "e", "type": "swordfish"}"#)),
        format!("{none}it has no `private_key`")
    );
    let text = read(Some(r#"{"client_email": "e", "private_key": "swordfish"}"#));
    assert!(text.starts_with("cannot use `storage.gcs`: "), "{text}");
    let shown = format!("{:?}", GcsCredentials::Key(account()));
    assert_eq!(shown, "GcsCredentials(..)");
}

/// The store's answer for an existing object or its mark, written in the year 2020 by the store's clock.
const THERE: Answer = Some((200, ""));
const MISSING: Answer = Some((404, ""));

#[tokio::test]
async fn a_removal_under_way_is_waited_for_however_wrong_our_clock_is() {
    // The object, our mark, the sign that it goes, the time of our mark; then both are gone.
    let (address, seen) = answering([THERE, WRITTEN, THERE, THERE, MISSING, MISSING]).await;
    let error = bucket(&address).touch(&key("a/b")).await.unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
    assert_eq!(seen.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn a_bucket_that_is_gone_is_no_missing_object() {
    const LISTED: Answer = Some((200, r#"{"items":[]}"#));
    const GONE: Answer = Some((404, r#"{"error":{"code":404}}"#));
    for (list, gone) in [(LISTED, false), (GONE, true)] {
        let (address, _) = answering([MISSING, list]).await;
        let error = bucket(&address).stat(&key("a/b")).await.unwrap_err();
        assert_eq!(error.is_not_found(), !gone, "{error:?}");
        let (address, _) = answering([MISSING, list]).await;
        let error = bucket(&address).get(&key("a/b"), 9).await.unwrap_err();
        assert_eq!(error.is_not_found(), !gone, "{error:?}");
    }
    // A recent answer shows that the bucket exists, without another request.
    let (address, seen) = answering([THERE, MISSING, LISTED]).await;
    let bucket = bucket(&address);
    bucket.stat(&key("a/b")).await.unwrap();
    assert!(bucket.stat(&key("a/c")).await.unwrap_err().is_not_found());
    assert_eq!(seen.lock().unwrap().len(), 2);
}
