//! Behaviour of drivers with multipart uploads.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{get, key, pattern, put};
use crate::storage::{Driver, Error, Expected, Multipart, ReadRange, StorageKey};

/// The size of a part that every store takes.
const PART: usize = 5 << 20;

fn parts(driver: &Arc<dyn Driver>) -> &dyn Multipart {
    driver
        .large_write()
        .multipart()
        .expect("a driver that takes parts")
}

/// Blocks of uneven sizes.
fn blocks(bytes: &[u8]) -> Vec<Bytes> {
    bytes.chunks(700_001).map(Bytes::copy_from_slice).collect()
}

pub(super) async fn parts_become_one_object_in_order(driver: Arc<dyn Driver>) {
    let bytes = pattern(2 * PART + 12_345);
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    let mut receipts = Vec::new();
    // The last first: order is that of the numbers, not of time.
    for (number, part) in bytes.chunks(PART).enumerate().rev() {
        receipts.insert(
            0,
            store
                .put_part(&name, &upload, number, blocks(part))
                .await
                .unwrap(),
        );
    }
    store.complete(&name, &upload, &receipts).await.unwrap();
    assert!(get(&driver, "docker/up/data").await == bytes);
    let found = super::read(&driver, "docker/up/data", ReadRange::Last(20_000))
        .await
        .unwrap();
    assert!(found == bytes[bytes.len() - 20_000..]);
}

/// More than Google puts together at once, twice over.
pub(super) async fn a_thousand_small_parts_become_one_object_and_leave_nothing(driver: Arc<dyn Driver>) {
    use futures_util::{StreamExt as _, TryStreamExt as _, stream};
    const COUNT: usize = 32 * 32 + 1;
    let bytes = pattern(COUNT * 7);
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    let stored = bytes.chunks(7).enumerate().map(|(number, part)| {
        let (name, upload, part) = (&name, &upload, Bytes::copy_from_slice(part));
        async move { store.put_part(name, upload, number, vec![part]).await }
    });
    let receipts: Vec<String> = stream::iter(stored.collect::<Vec<_>>())
        .buffered(16)
        .try_collect()
        .await
        .unwrap();
    store.complete(&name, &upload, &receipts).await.unwrap();
    assert!(get(&driver, "docker/up/data").await == bytes);
    assert_eq!(unfinished(store).await, []);
    let names: Vec<String> = super::list(&driver, "docker")
        .await
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["up"]);
}

pub(super) async fn an_upload_is_nothing_until_it_is_complete(driver: Arc<dyn Driver>) {
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    store
        .put_part(&name, &upload, 0, blocks(&pattern(PART)))
        .await
        .unwrap();
    assert!(driver.stat(&name).await.unwrap_err().is_not_found());
    assert_eq!(super::list(&driver, "docker/up").await, []);
}

pub(super) async fn a_part_stored_again_counts_by_its_receipt(driver: Arc<dyn Driver>) {
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    let (first, second) = (vec![1; PART], vec![2; PART]);
    let stale = store.put_part(&name, &upload, 0, blocks(&first)).await.unwrap();
    let receipt = store.put_part(&name, &upload, 0, blocks(&second)).await.unwrap();
    // Either the store keeps both, or it refuses the one it has no more; never the bytes of another one.
    match store.complete(&name, &upload, &[stale]).await {
        Ok(()) => assert!(get(&driver, "docker/up/data").await == first),
        Err(error) => {
            assert!(!error.is_not_found(), "{error}");
            store.complete(&name, &upload, &[receipt]).await.unwrap();
            assert!(get(&driver, "docker/up/data").await == second);
        }
    }
}

pub(super) async fn complete_may_be_asked_again(driver: Arc<dyn Driver>) {
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    let receipts = [store
        .put_part(&name, &upload, 0, vec![Bytes::from_static(b"all")])
        .await
        .unwrap()];
    for _ in 0..2 {
        match store.complete(&name, &upload, &receipts).await {
            Ok(()) => {}
            // The object tells, which the caller has to ask.
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
    }
    assert_eq!(get(&driver, "docker/up/data").await, "all");
}

/// As by a server that does not know that another one has finished.
pub(super) async fn a_part_stored_after_the_end_changes_nothing_and_does_not_stay(driver: Arc<dyn Driver>) {
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    let part = async |number| {
        store
            .put_part(&name, &upload, number, vec![Bytes::from_static(b"all")])
            .await
    };
    let first = part(0).await.unwrap();
    let receipts = std::slice::from_ref(&first);
    store.complete(&name, &upload, receipts).await.unwrap();
    let late = match part(1).await {
        Ok(receipt) => store.complete(&name, &upload, &[first, receipt]).await,
        Err(error) => Err(error),
    };
    let error = late.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(get(&driver, "docker/up/data").await, "all");
    assert_eq!(unfinished(store).await, []);
}

pub(super) async fn what_was_never_begun_cannot_be_completed(driver: Arc<dyn Driver>) {
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    let receipts = [store
        .put_part(&name, &upload, 0, vec![Bytes::from_static(b"all")])
        .await
        .unwrap()];
    store.abort(&name, &upload).await.unwrap();
    let error = store.complete(&name, &upload, &receipts).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

pub(super) async fn an_aborted_upload_is_gone(driver: Arc<dyn Driver>) {
    let (name, store) = (key("docker/up/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    store
        .put_part(&name, &upload, 0, vec![Bytes::from_static(b"x")])
        .await
        .unwrap();
    for _ in 0..2 {
        store.abort(&name, &upload).await.unwrap();
    }
    assert!(driver.stat(&name).await.unwrap_err().is_not_found());
    assert_eq!(store.unfinished().await.unwrap(), []);
}

pub(super) async fn a_conditional_write_meets_what_it_expects_or_changes_nothing(driver: Arc<dyn Driver>) {
    let (name, store) = (key("a/record"), parts(&driver));
    let write = async |text: &'static str, expected: Expected<'_>| {
        store
            .put_blocks(&name, vec![Bytes::from_static(text.as_bytes())], expected)
            .await
    };
    let refused =
        |result: Result<_, Error>| assert!(matches!(result, Err(Error::AlreadyExists { .. })), "{result:?}");
    let first = write("first", Expected::Nothing).await.unwrap();
    refused(write("again", Expected::Nothing).await);
    let second = write("second", Expected::Version(&first)).await.unwrap();
    refused(write("stale", Expected::Version(&first)).await);
    let (bytes, read) = store.get_version(&name, 100).await.unwrap();
    assert_eq!((bytes.as_ref(), read), (&b"second"[..], second));
    let third = write("third", Expected::Anything).await.unwrap();
    write("fourth", Expected::Version(&third)).await.unwrap();
    driver.delete(&name).await.unwrap();
    refused(write("gone", Expected::Version(&third)).await);
    assert!(store.get_version(&name, 100).await.unwrap_err().is_not_found());
}

pub(super) async fn concurrent_writers_of_one_version_have_one_winner(driver: Arc<dyn Driver>) {
    let name = key("a/record");
    let mut version = parts(&driver)
        .put_blocks(&name, vec![Bytes::new()], Expected::Nothing)
        .await
        .unwrap();
    for round in 0..5 {
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let (driver, name, version) = (Arc::clone(&driver), name.clone(), version.clone());
                tokio::spawn(async move {
                    let bytes = Bytes::from(format!("{round} {number}"));
                    parts(&driver)
                        .put_blocks(&name, vec![bytes], Expected::Version(&version))
                        .await
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(version) => winners.push(version),
                Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
            }
        }
        assert_eq!(winners.len(), 1);
        version = winners.remove(0);
    }
}

pub(super) async fn copies_are_whole_at_every_size(driver: Arc<dyn Driver>) {
    for size in [0, 1, 70_000, PART, 2 * PART + 1, 3 * PART] {
        let bytes = pattern(size);
        put(&driver, "docker/from", bytes.clone()).await;
        put(&driver, "docker/to", "something else").await;
        let copied = parts(&driver)
            .copy(&key("docker/from"), &key("docker/to"), size as u64)
            .await;
        copied.unwrap();
        assert!(get(&driver, "docker/to").await == bytes, "{size} bytes");
    }
    let copied = parts(&driver)
        .copy(&key("docker/nothing"), &key("docker/other"), 7)
        .await;
    assert!(copied.unwrap_err().is_not_found());
}

pub(super) async fn delete_all_takes_what_is_there(driver: Arc<dyn Driver>) {
    for name in ["a/1", "a/2", "a/3"] {
        put(&driver, name, "x").await;
    }
    let doomed = [key("a/1"), key("a/missing"), key("a/3")];
    parts(&driver).delete_all(&doomed).await.unwrap();
    let names: Vec<String> = super::list(&driver, "a")
        .await
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["2"]);
    parts(&driver).delete_all(&doomed[1..2]).await.unwrap();
    parts(&driver).delete_all(&[]).await.unwrap();
}

pub(super) async fn unfinished_uploads_are_told_with_their_last_part(driver: Arc<dyn Driver>) {
    let store = parts(&driver);
    let (name, other) = (key("docker/with/data"), key("docker/with"));
    let upload = store.begin(&name).await.unwrap();
    store
        .put_part(&name, &upload, 0, blocks(&pattern(PART)))
        .await
        .unwrap();
    store
        .put_part(&name, &upload, 1, vec![Bytes::from_static(b"tail")])
        .await
        .unwrap();
    let second = store.begin(&other).await.unwrap();
    store
        .put_part(&other, &second, 0, vec![Bytes::from_static(b"x")])
        .await
        .unwrap();
    let found = unfinished(store).await;
    assert_eq!(
        found,
        [
            (other.clone(), second.clone(), 1),
            (name, upload, PART as u64 + 4)
        ]
    );
    store.abort(&other, &second).await.unwrap();
    assert_eq!(unfinished(store).await, found[1..]);
}

pub(super) async fn uploads_without_a_part_are_told_too(driver: Arc<dyn Driver>) {
    let (name, store) = (key("docker/without/data"), parts(&driver));
    let upload = store.begin(&name).await.unwrap();
    assert_eq!(unfinished(store).await, [(name, upload, 0)]);
}

/// Keys, names and sizes, all of them young.
async fn unfinished(store: &dyn Multipart) -> Vec<(StorageKey, String, u64)> {
    let mut found = store.unfinished().await.unwrap();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let told = found.into_iter().map(|found| {
        let age = SystemTime::now()
            .duration_since(found.modified)
            .unwrap_or_default();
        assert!(age < Duration::from_secs(600), "{age:?}");
        (found.key, found.upload, found.bytes)
    });
    told.collect()
}
