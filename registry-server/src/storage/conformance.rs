//! The behaviour of every driver: one named test per behaviour and driver.
//!
//! A behaviour is a function that takes a fresh store and knows nothing of the driver but its trait. To add a
//! driver, add a line beside its likes; to add a behaviour, write it and add its name. A run prints, for example,
//! `conformance::filesystem::put_replaces_the_whole_value`.

mod conditional;
#[cfg(feature = "stores")]
mod multipart;
mod put_stream;
mod staged;
#[cfg(feature = "stores")]
pub(crate) mod stores;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use conditional::{
    an_object_that_was_replaced_is_not_deleted_for_what_it_held,
    deleting_old_objects_leaves_the_prune_root_and_its_other_content,
    deleting_or_refreshing_nothing_is_not_found,
    what_is_older_than_a_limit_is_deleted_and_what_is_younger_stays,
    what_was_refreshed_in_time_is_never_deleted,
};
#[cfg(feature = "stores")]
use multipart::{
    a_conditional_write_meets_what_it_expects_or_changes_nothing,
    a_part_stored_after_the_end_changes_nothing_and_does_not_stay, a_part_stored_again_counts_by_its_receipt,
    a_thousand_small_parts_become_one_object_and_leave_nothing, an_aborted_upload_is_gone,
    an_upload_is_nothing_until_it_is_complete, complete_may_be_asked_again,
    concurrent_writers_of_one_version_have_one_winner, copies_are_whole_at_every_size,
    delete_all_takes_what_is_there, parts_become_one_object_in_order,
    unfinished_uploads_are_told_with_their_last_part, uploads_without_a_part_are_told_too,
    what_was_never_begun_cannot_be_completed,
};
use put_stream::{
    a_stream_of_another_length_or_with_an_error_writes_nothing,
    a_stream_of_any_size_arrives_whole_and_replaces_what_is_there,
};
use staged::{
    a_staged_object_can_be_read_back, an_empty_object_may_be_staged,
    concurrent_publishes_of_one_object_leave_it_whole, only_one_writer_exists_at_a_time,
    publish_makes_the_object_and_ends_the_staged_one,
    publish_of_a_wrong_size_is_refused_and_keeps_the_staged_bytes, publish_of_nothing_is_not_found,
    publish_replaces_a_torn_object, publish_under_an_open_writer_is_refused,
    staged_bytes_are_appended_in_order, staging_anew_what_exists_is_refused,
    staging_at_a_wrong_offset_is_refused_with_the_size, staging_what_does_not_exist_is_not_found,
    what_is_staged_goes_with_its_tree,
};

use super::{Driver, Durability, Entry, EntryKind, Error, Mode, ReadRange, StorageKey};

/// A store to test, and what must live as long as it.
struct Subject {
    driver: Arc<dyn Driver>,
    _folder: Option<tempfile::TempDir>,
}

macro_rules! tests {
    ($make:expr; $($behaviour:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            let subject: super::Subject = $make;
            super::$behaviour(Arc::clone(&subject.driver)).await;
            super::nothing_temporary_is_left(&subject).await;
        })*
    };
}

/// Behaviour of every driver.
macro_rules! objects {
    ($make:expr) => {
        tests! { $make;
            put_then_get_gives_the_same_bytes,
            put_replaces_the_whole_value,
            put_create_refuses_what_is_there_and_keeps_it,
            get_of_nothing_is_not_found,
            get_of_more_than_the_limit_is_refused,
            stat_tells_size_and_time,
            stat_of_a_prefix_is_not_found,
            stat_of_many_is_what_each_one_says,
            read_streams_every_byte_of_a_large_object,
            read_of_a_range_gives_that_range,
            read_behind_the_end_is_refused_with_the_size,
            read_of_nothing_is_not_found,
            an_open_read_survives_replacement_and_deletion,
            reader_never_sees_half_a_put,
            concurrent_creates_have_one_winner,
            delete_takes_one_object_away,
            delete_of_nothing_is_not_found,
            delete_of_a_prefix_is_not_found,
            delete_tree_takes_everything_below_and_nothing_beside,
            delete_tree_of_nothing_is_no_error,
            writes_and_deletes_of_one_folder_do_not_disturb_each_other,
            list_gives_each_direct_child_once,
            list_of_nothing_is_empty,
            names_that_look_temporary_are_listed_as_prefixes,
            an_empty_object_is_an_object,
            what_is_older_than_a_limit_is_deleted_and_what_is_younger_stays,
            deleting_old_objects_leaves_the_prune_root_and_its_other_content,
            deleting_or_refreshing_nothing_is_not_found,
            what_was_refreshed_in_time_is_never_deleted,
            an_object_that_was_replaced_is_not_deleted_for_what_it_held,
            a_stream_of_any_size_arrives_whole_and_replaces_what_is_there,
            a_stream_of_another_length_or_with_an_error_writes_nothing,
        }
    };
}

/// Behaviour of drivers that append.
macro_rules! append {
    ($make:expr) => {
        tests! { $make;
            staged_bytes_are_appended_in_order,
            a_staged_object_can_be_read_back,
            staging_at_a_wrong_offset_is_refused_with_the_size,
            staging_what_does_not_exist_is_not_found,
            staging_anew_what_exists_is_refused,
            only_one_writer_exists_at_a_time,
            publish_makes_the_object_and_ends_the_staged_one,
            publish_replaces_a_torn_object,
            publish_of_a_wrong_size_is_refused_and_keeps_the_staged_bytes,
            publish_under_an_open_writer_is_refused,
            publish_of_nothing_is_not_found,
            concurrent_publishes_of_one_object_leave_it_whole,
            what_is_staged_goes_with_its_tree,
            an_empty_object_may_be_staged,
        }
    };
}

/// Behaviour of drivers with multipart uploads.
#[cfg(feature = "stores")]
macro_rules! parts {
    ($make:expr) => {
        tests! { $make;
            parts_become_one_object_in_order,
            an_upload_is_nothing_until_it_is_complete,
            a_part_stored_again_counts_by_its_receipt,
            complete_may_be_asked_again,
            a_part_stored_after_the_end_changes_nothing_and_does_not_stay,
            an_aborted_upload_is_gone,
            a_conditional_write_meets_what_it_expects_or_changes_nothing,
            concurrent_writers_of_one_version_have_one_winner,
            copies_are_whole_at_every_size,
            delete_all_takes_what_is_there,
        }
    };
}

/// Behaviour of drivers whose store lists unfinished uploads.
#[cfg(feature = "stores")]
macro_rules! unfinished {
    ($make:expr) => {
        tests! { $make;
            unfinished_uploads_are_told_with_their_last_part,
            what_was_never_begun_cannot_be_completed,
        }
    };
}

/// Behaviour of drivers whose store keeps an upload without parts.
#[cfg(feature = "stores")]
macro_rules! begun {
    ($make:expr) => {
        tests! { $make;
            uploads_without_a_part_are_told_too,
        }
    };
}

/// Behaviour of drivers whose store takes parts of any size.
#[cfg(feature = "stores")]
macro_rules! small {
    ($make:expr) => {
        tests! { $make;
            a_thousand_small_parts_become_one_object_and_leave_nothing,
        }
    };
}

macro_rules! driver {
    ($driver:ident: $make:expr, $($kind:ident)*) => {
        mod $driver {
            use std::sync::Arc;
            $($kind! { $make })*
        }
    };
}

driver! { filesystem: super::filesystem(crate::storage::Sync::Always), objects append }
driver! { filesystem_without_sync: super::filesystem(crate::storage::Sync::Never), objects append }
driver! { inmemory: super::inmemory(), objects append }
driver! { timed: super::timed(), objects append }
#[cfg(feature = "stores")]
driver! { s3: super::stores::s3(), objects parts unfinished begun }
#[cfg(feature = "stores")]
driver! { azure: super::stores::azure::plain(), objects parts small }
#[cfg(feature = "stores")]
driver! { azure_names_with_a_slash: super::stores::azure::with_slash().await, objects parts small }
#[cfg(feature = "stores")]
driver! { gcs: super::stores::gcs(), objects parts unfinished small }

fn inmemory() -> Subject {
    Subject {
        driver: Arc::new(super::InMemory::new()),
        _folder: None,
    }
}

/// A timed driver behaves as the driver it measures.
fn timed() -> Subject {
    let subject = filesystem(super::Sync::Never);
    let driver = super::Timed::new(
        subject.driver,
        &mut prometheus_client::registry::Registry::default(),
    );
    Subject {
        driver: Arc::new(driver),
        ..subject
    }
}

fn filesystem(sync: super::Sync) -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let options = super::FilesystemOptions {
        sync,
        ..super::FilesystemOptions::default()
    };
    let driver = super::Filesystem::new(folder.path(), &options).unwrap();
    Subject {
        driver: Arc::new(driver),
        _folder: Some(folder),
    }
}

fn key(text: &str) -> StorageKey {
    StorageKey::parse(text).unwrap()
}

async fn put(driver: &Arc<dyn Driver>, name: &str, bytes: impl Into<Bytes>) {
    driver
        .put(&key(name), bytes.into(), Mode::Replace, Durability::PowerLoss)
        .await
        .unwrap();
}

async fn get(driver: &Arc<dyn Driver>, name: &str) -> Bytes {
    driver.get(&key(name), u64::MAX).await.unwrap()
}

async fn read(driver: &Arc<dyn Driver>, name: &str, range: ReadRange) -> Result<Vec<u8>, Error> {
    let content = driver.read(&key(name), range).await?;
    let expected = content.range.clone();
    let bytes = content.try_fold(Vec::new(), async |mut all, chunk| {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    let bytes = bytes.await?;
    assert_eq!(
        bytes.len() as u64,
        expected.end - expected.start,
        "the stream is as long as it says"
    );
    Ok(bytes)
}

async fn list(driver: &Arc<dyn Driver>, name: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = driver
        .list(&key(name))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    entries.sort_unstable();
    entries
}

/// Bytes that differ at every offset a block could be confused at.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

async fn nothing_temporary_is_left(subject: &Subject) {
    if let Some(folder) = &subject._folder {
        let mut folders = vec![folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    assert!(
                        path.extension().is_none_or(|end| end != "tmp"),
                        "left behind: {}",
                        path.display()
                    );
                }
            }
        }
    }
    assert_eq!(subject.driver.sweep(Duration::ZERO).await.unwrap().objects, 0);
}

async fn put_then_get_gives_the_same_bytes(driver: Arc<dyn Driver>) {
    let bytes = pattern(70_000);
    put(&driver, "a/b/c", bytes.clone()).await;
    assert_eq!(get(&driver, "a/b/c").await, bytes);
}

async fn put_replaces_the_whole_value(driver: Arc<dyn Driver>) {
    put(&driver, "a/link", "a longer first value").await;
    put(&driver, "a/link", "second").await;
    assert_eq!(get(&driver, "a/link").await, "second");
}

async fn put_create_refuses_what_is_there_and_keeps_it(driver: Arc<dyn Driver>) {
    let name = key("a/b");
    let create = || driver.put(&name, Bytes::from("new"), Mode::Create, Durability::PowerLoss);
    create().await.unwrap();
    put(&driver, "a/b", "old").await;
    assert!(matches!(create().await, Err(Error::AlreadyExists { .. })));
    assert_eq!(get(&driver, "a/b").await, "old");
}

async fn get_of_nothing_is_not_found(driver: Arc<dyn Driver>) {
    put(&driver, "a/b", "x").await;
    for name in ["a/c", "b", "a/b/c"] {
        assert!(
            driver.get(&key(name), 10).await.unwrap_err().is_not_found(),
            "{name}"
        );
    }
}

async fn get_of_more_than_the_limit_is_refused(driver: Arc<dyn Driver>) {
    put(&driver, "a", "12345").await;
    assert_eq!(driver.get(&key("a"), 5).await.unwrap(), "12345");
    let error = driver.get(&key("a"), 4).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 5,
                limit: 4,
                ..
            }
        ),
        "{error}"
    );
}

async fn stat_tells_size_and_time(driver: Arc<dyn Driver>) {
    put(&driver, "a", "12345").await;
    let found = driver.stat(&key("a")).await.unwrap();
    assert_eq!(found.size, 5);
    let age = std::time::SystemTime::now()
        .duration_since(found.modified)
        .unwrap_or_default();
    assert!(age < Duration::from_secs(600), "{age:?}");
}

async fn stat_of_a_prefix_is_not_found(driver: Arc<dyn Driver>) {
    put(&driver, "a/b", "x").await;
    assert!(driver.stat(&key("a")).await.unwrap_err().is_not_found());
    assert!(driver.get(&key("a"), 10).await.is_err());
}

async fn stat_of_many_is_what_each_one_says(driver: Arc<dyn Driver>) {
    for (name, bytes) in [("a/b/1/link", "1"), ("a/b/2/link", "22"), ("a/c", "333")] {
        put(&driver, name, bytes).await;
    }
    let sizes = async |names: &[&str]| -> Vec<Option<u64>> {
        let keys: Vec<StorageKey> = names.iter().map(|name| key(name)).collect();
        let found = driver.stat_all(&keys).await.unwrap();
        found
            .into_iter()
            .map(|found| found.map(|found| found.size))
            .collect()
    };
    let near = ["a/b/2/link", "a/b/3/link", "a/b/1/link", "a/b/2/link"];
    assert_eq!(sizes(&near).await, [Some(2), None, Some(1), Some(2)]);
    let far = ["a/c", "z", "a/b/1/link", "a/b/2/link"];
    assert_eq!(sizes(&far).await, [Some(3), None, Some(1), Some(2)]);
    assert_eq!(sizes(&[]).await, []);
}

async fn read_streams_every_byte_of_a_large_object(driver: Arc<dyn Driver>) {
    for length in [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let bytes = pattern(length);
        put(&driver, "a", bytes.clone()).await;
        assert!(
            read(&driver, "a", ReadRange::Full).await.unwrap() == bytes,
            "{length} bytes differ"
        );
    }
}

async fn read_of_a_range_gives_that_range(driver: Arc<dyn Driver>) {
    let bytes = pattern(1_000_000);
    put(&driver, "a", bytes.clone()).await;
    for (range, expected) in [
        (ReadRange::From(999_999), 999_999..1_000_000),
        (ReadRange::From(0), 0..1_000_000),
        (ReadRange::Between(10, 10), 10..11),
        (ReadRange::Between(262_143, 524_288), 262_143..524_289),
        (ReadRange::Between(999_990, 5_000_000), 999_990..1_000_000),
        (ReadRange::Last(7), 999_993..1_000_000),
        (ReadRange::Last(7_000_000), 0..1_000_000),
    ] {
        assert!(
            read(&driver, "a", range).await.unwrap() == bytes[expected],
            "{range:?}"
        );
    }
}

async fn read_behind_the_end_is_refused_with_the_size(driver: Arc<dyn Driver>) {
    put(&driver, "a", "12345").await;
    for range in [
        ReadRange::From(5),
        ReadRange::Between(9, 10),
        ReadRange::Between(3, 2),
        ReadRange::Last(0),
    ] {
        let error = read(&driver, "a", range).await.unwrap_err();
        assert!(
            matches!(error, Error::RangeNotSatisfiable { size: 5, .. }),
            "{range:?}: {error}"
        );
    }
}

async fn read_of_nothing_is_not_found(driver: Arc<dyn Driver>) {
    assert!(
        read(&driver, "a/b", ReadRange::Full)
            .await
            .unwrap_err()
            .is_not_found()
    );
}

async fn an_open_read_survives_replacement_and_deletion(driver: Arc<dyn Driver>) {
    let bytes = pattern(2_000_000);
    put(&driver, "a/data", bytes.clone()).await;
    let content = driver.read(&key("a/data"), ReadRange::Full).await.unwrap();
    put(&driver, "a/data", "other").await;
    driver.delete(&key("a/data")).await.unwrap();
    let chunks: Vec<Bytes> = content.try_collect().await.unwrap();
    assert!(chunks.concat() == bytes);
}

async fn reader_never_sees_half_a_put(driver: Arc<dyn Driver>) {
    let (one, two) = (Bytes::from(vec![1; 100_000]), Bytes::from(vec![2; 150_000]));
    put(&driver, "a/link", one.clone()).await;
    let writer = {
        let (driver, one, two) = (Arc::clone(&driver), one.clone(), two.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                for bytes in [&two, &one] {
                    put(&driver, "a/link", bytes.clone()).await;
                }
            }
        })
    };
    while !writer.is_finished() {
        let seen = get(&driver, "a/link").await;
        assert!(seen == one || seen == two, "a mixture of {} bytes", seen.len());
    }
    writer.await.unwrap();
}

async fn concurrent_creates_have_one_winner(driver: Arc<dyn Driver>) {
    let tasks: Vec<_> = (0..10)
        .map(|number: u8| {
            let driver = Arc::clone(&driver);
            tokio::spawn(async move {
                let bytes = Bytes::from(vec![number; 10]);
                driver
                    .put(&key("a/owner"), bytes, Mode::Create, Durability::PowerLoss)
                    .await
            })
        })
        .collect();
    let mut winners = Vec::new();
    for (number, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(()) => winners.push(number as u8),
            Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(get(&driver, "a/owner").await, vec![winners[0]; 10]);
}

async fn delete_takes_one_object_away(driver: Arc<dyn Driver>) {
    put(&driver, "a/b", "x").await;
    put(&driver, "a/c", "y").await;
    driver.delete(&key("a/b")).await.unwrap();
    assert!(driver.get(&key("a/b"), 10).await.unwrap_err().is_not_found());
    assert_eq!(get(&driver, "a/c").await, "y");
}

async fn delete_of_nothing_is_not_found(driver: Arc<dyn Driver>) {
    assert!(driver.delete(&key("a/b")).await.unwrap_err().is_not_found());
}

async fn delete_of_a_prefix_is_not_found(driver: Arc<dyn Driver>) {
    put(&driver, "a/b", "x").await;
    assert!(driver.delete(&key("a")).await.unwrap_err().is_not_found());
    assert_eq!(get(&driver, "a/b").await, "x");
}

async fn delete_tree_takes_everything_below_and_nothing_beside(driver: Arc<dyn Driver>) {
    for name in ["a/b/c", "a/b/d/e", "a/bb/c", "a/b.c"] {
        put(&driver, name, "x").await;
    }
    driver
        .delete_tree(&key("a/b"), Durability::PowerLoss)
        .await
        .unwrap();
    let names: Vec<String> = list(&driver, "a")
        .await
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["b.c", "bb"]);
}

async fn delete_tree_of_nothing_is_no_error(driver: Arc<dyn Driver>) {
    driver
        .delete_tree(&key("a/b"), Durability::PowerLoss)
        .await
        .unwrap();
}

async fn writes_and_deletes_of_one_folder_do_not_disturb_each_other(driver: Arc<dyn Driver>) {
    let deleter = {
        let driver = Arc::clone(&driver);
        tokio::spawn(async move {
            for _ in 0..30 {
                driver.delete_tree(&key("a/b"), Durability::Crash).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    while !deleter.is_finished() {
        put(&driver, "a/b/c/link", "x").await;
    }
    deleter.await.unwrap();
    put(&driver, "a/b/c/link", "y").await;
    assert_eq!(get(&driver, "a/b/c/link").await, "y");
}

async fn list_gives_each_direct_child_once(driver: Arc<dyn Driver>) {
    for name in ["a/one/x", "a/one/y", "a/two", "a/one-more/z", "b/other"] {
        put(&driver, name, "x").await;
    }
    let entry = |name: &str, kind| Entry {
        name: name.to_owned(),
        kind,
    };
    let expected = [
        entry("one", EntryKind::Prefix),
        entry("one-more", EntryKind::Prefix),
        entry("two", EntryKind::Object),
    ];
    assert_eq!(list(&driver, "a").await, expected);
}

async fn list_of_nothing_is_empty(driver: Arc<dyn Driver>) {
    assert_eq!(list(&driver, "a/b").await, []);
    put(&driver, "a", "x").await;
    assert_eq!(list(&driver, "a/b").await, []);
}

async fn names_that_look_temporary_are_listed_as_prefixes(driver: Arc<dyn Driver>) {
    put(&driver, "tags/v1.tmp/current/link", "x").await;
    let names: Vec<String> = list(&driver, "tags")
        .await
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["v1.tmp"]);
}

async fn an_empty_object_is_an_object(driver: Arc<dyn Driver>) {
    put(&driver, "a/empty", "").await;
    assert_eq!(driver.stat(&key("a/empty")).await.unwrap().size, 0);
    assert_eq!(read(&driver, "a/empty", ReadRange::Full).await.unwrap(), b"");
}
