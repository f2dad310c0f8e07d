//! Staging and publishing: what uploads are made of.

use std::sync::Arc;

use bytes::Bytes;

use super::{get, key, pattern, put, read};
use crate::storage::{Append, Driver, Durability, Error, ReadRange, Staged};

pub(super) async fn staged_bytes_are_appended_in_order(driver: Arc<dyn Driver>) {
    stage(&driver, "up/data", &[b"one", b"two"]).await;
    assert_eq!(driver.stat(&key("up/data")).await.unwrap().size, 6);
    let mut writer = append(&driver)
        .stage(&key("up/data"), Staged::At(6))
        .await
        .unwrap();
    writer.write(Bytes::from("three")).await.unwrap();
    assert_eq!(writer.size(), 11);
    drop(writer);
    let mut writer = append(&driver)
        .stage(&key("up/data"), Staged::AtEnd)
        .await
        .unwrap();
    assert_eq!(writer.size(), 11);
    writer.write(Bytes::from("four")).await.unwrap();
    drop(writer);
    append(&driver)
        .publish(&key("up/data"), &key("blob"), 15)
        .await
        .unwrap();
    assert_eq!(get(&driver, "blob").await, "onetwothreefour");
}

pub(super) async fn a_staged_object_can_be_read_back(driver: Arc<dyn Driver>) {
    stage(&driver, "up/data", &[b"one", b"two"]).await;
    let _writer = append(&driver)
        .stage(&key("up/data"), Staged::AtEnd)
        .await
        .unwrap();
    assert_eq!(
        read(&driver, "up/data", ReadRange::Between(2, 5)).await.unwrap(),
        b"etwo"
    );
}

pub(super) async fn staging_at_a_wrong_offset_is_refused_with_the_size(driver: Arc<dyn Driver>) {
    stage(&driver, "up/data", &[b"12345"]).await;
    for offset in [0, 4, 6] {
        let error = append(&driver)
            .stage(&key("up/data"), Staged::At(offset))
            .await
            .err()
            .unwrap();
        assert!(
            matches!(error, Error::OffsetMismatch { actual: 5, expected, .. } if expected == offset),
            "{error}"
        );
    }
    append(&driver)
        .stage(&key("up/data"), Staged::At(5))
        .await
        .unwrap();
}

pub(super) async fn staging_what_does_not_exist_is_not_found(driver: Arc<dyn Driver>) {
    for staged in [Staged::At(0), Staged::AtEnd] {
        assert!(
            append(&driver)
                .stage(&key("up/data"), staged)
                .await
                .err()
                .unwrap()
                .is_not_found()
        );
    }
}

pub(super) async fn staging_anew_what_exists_is_refused(driver: Arc<dyn Driver>) {
    stage(&driver, "up/data", &[b"12345"]).await;
    let error = append(&driver)
        .stage(&key("up/data"), Staged::New)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    assert_eq!(driver.stat(&key("up/data")).await.unwrap().size, 5);
}

pub(super) async fn only_one_writer_exists_at_a_time(driver: Arc<dyn Driver>) {
    let writer = append(&driver).stage(&key("up/data"), Staged::New).await.unwrap();
    let error = append(&driver)
        .stage(&key("up/data"), Staged::AtEnd)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(writer);
    append(&driver)
        .stage(&key("up/data"), Staged::AtEnd)
        .await
        .unwrap();
}

pub(super) async fn publish_makes_the_object_and_ends_the_staged_one(driver: Arc<dyn Driver>) {
    let bytes = pattern(1_500_000);
    stage(&driver, "up/data", &[&bytes[..700_000], &bytes[700_000..]]).await;
    assert!(
        driver
            .stat(&key("blobs/x/data"))
            .await
            .unwrap_err()
            .is_not_found()
    );
    append(&driver)
        .publish(&key("up/data"), &key("blobs/x/data"), 1_500_000)
        .await
        .unwrap();
    assert!(read(&driver, "blobs/x/data", ReadRange::Full).await.unwrap() == bytes);
    assert!(driver.stat(&key("up/data")).await.unwrap_err().is_not_found());
}

pub(super) async fn publish_replaces_a_torn_object(driver: Arc<dyn Driver>) {
    put(&driver, "blobs/x/data", "who").await;
    stage(&driver, "up/data", &[b"whole"]).await;
    append(&driver)
        .publish(&key("up/data"), &key("blobs/x/data"), 5)
        .await
        .unwrap();
    assert_eq!(get(&driver, "blobs/x/data").await, "whole");
}

pub(super) async fn publish_of_a_wrong_size_is_refused_and_keeps_the_staged_bytes(driver: Arc<dyn Driver>) {
    stage(&driver, "up/data", &[b"whole"]).await;
    let error = append(&driver)
        .publish(&key("up/data"), &key("blob"), 4)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::OffsetMismatch {
                expected: 4,
                actual: 5,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(driver.stat(&key("up/data")).await.unwrap().size, 5);
    assert!(driver.stat(&key("blob")).await.unwrap_err().is_not_found());
}

pub(super) async fn publish_under_an_open_writer_is_refused(driver: Arc<dyn Driver>) {
    let mut writer = append(&driver).stage(&key("up/data"), Staged::New).await.unwrap();
    writer.write(Bytes::from("x")).await.unwrap();
    let error = append(&driver)
        .publish(&key("up/data"), &key("blob"), 1)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
}

pub(super) async fn publish_of_nothing_is_not_found(driver: Arc<dyn Driver>) {
    assert!(
        append(&driver)
            .publish(&key("up/data"), &key("blob"), 0)
            .await
            .unwrap_err()
            .is_not_found()
    );
}

pub(super) async fn concurrent_publishes_of_one_object_leave_it_whole(driver: Arc<dyn Driver>) {
    let bytes = pattern(300_000);
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (driver, bytes) = (Arc::clone(&driver), bytes.clone());
            tokio::spawn(async move {
                let staged = format!("up/{number}/data");
                stage(&driver, &staged, &[&bytes]).await;
                append(&driver)
                    .publish(&key(&staged), &key("blobs/x/data"), 300_000)
                    .await
                    .unwrap();
                assert!(read(&driver, "blobs/x/data", ReadRange::Full).await.unwrap() == bytes);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

pub(super) async fn what_is_staged_goes_with_its_tree(driver: Arc<dyn Driver>) {
    stage(&driver, "a/b/data", &[b"staged"]).await;
    driver
        .delete_tree(&key("a/b"), Durability::PowerLoss)
        .await
        .unwrap();
    assert!(driver.stat(&key("a/b/data")).await.unwrap_err().is_not_found());
}

pub(super) async fn an_empty_object_may_be_staged(driver: Arc<dyn Driver>) {
    stage(&driver, "up/data", &[]).await;
    append(&driver)
        .publish(&key("up/data"), &key("blob"), 0)
        .await
        .unwrap();
    assert_eq!(get(&driver, "blob").await, "");
}

fn append(driver: &Arc<dyn Driver>) -> &dyn Append {
    driver.large_write().append().expect("a driver that appends")
}

async fn stage(driver: &Arc<dyn Driver>, name: &str, parts: &[&[u8]]) {
    let mut writer = append(driver).stage(&key(name), Staged::New).await.unwrap();
    for part in parts {
        writer.write(Bytes::copy_from_slice(part)).await.unwrap();
    }
    writer.sync().await.unwrap();
}
