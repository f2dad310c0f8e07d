//! The same on real object stores: objects are found, moved within the store, recorded, and put back.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::registry::Settings;
use crate::storage::conformance::stores;
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::{Driver, Durability, Mode};

/// Larger than one request of a copy, with the settings of the tests.
const LARGE: usize = 7 << 20;

#[tokio::test]
async fn what_is_broken_in_s3_is_found_moved_and_brought_back() {
    is_mended(stores::s3_below(&Uuid::new_v4().to_string())).await;
}

#[tokio::test]
async fn what_is_broken_in_azure_is_found_moved_and_brought_back() {
    is_mended(stores::in_azure()).await;
}

#[tokio::test]
async fn what_is_broken_in_google_cloud_storage_is_found_moved_and_brought_back() {
    is_mended(stores::gcs_below(&Uuid::new_v4().to_string())).await;
}

async fn is_mended(driver: Arc<dyn Driver>) {
    let registry = Registry::new(Arc::clone(&driver), Settings::default());
    let (app, other) = (name("team/app"), name("other"));
    let image = push_image(&registry, &app, "v1", "layer").await;
    push_image(&registry, &app, "v2", "another layer").await;
    push_image(&registry, &other, "v1", "whole").await;
    let large = Bytes::from(vec![7; LARGE]);
    let damaged = Digest::sha256(&large);
    push_blob(&registry, &app, &damaged, &large).await;
    assert_eq!(check(&registry, REPORT).await.1, []);

    // One blob has other bytes of the same number, one is gone, and one link holds nothing.
    let gone = Digest::sha256(b"layer");
    let emptied = layer(&other, Digest::sha256(b"whole"));
    let put = async |place: &ObjectPath, bytes: Bytes| {
        let key = place.key();
        let written = driver.put(&key, bytes, Mode::Replace, Durability::Crash);
        written.await.unwrap();
    };
    put(&ObjectPath::BlobData { digest: damaged }, vec![8; LARGE].into()).await;
    driver
        .delete(&ObjectPath::BlobData { digest: gone }.key())
        .await
        .unwrap();
    put(&emptied, Bytes::new()).await;
    let before = objects(&registry).await;

    let missing = Finding::BlobMissing {
        repository: app.clone(),
        manifest: image,
        digest: gone,
    };
    let unlinked = Finding::BlobMissing {
        repository: other.clone(),
        manifest: registry.tag_target(&other, &tag("v1")).await.unwrap().unwrap(),
        digest: Digest::sha256(b"whole"),
    };
    let sorted = |mut findings: Vec<Finding>| {
        findings.sort_by_key(ToString::to_string);
        findings
    };
    let expected = sorted(vec![
        Finding::BlobDamaged {
            digest: damaged,
            size: LARGE as u64,
        },
        dangling(layer(&app, damaged), damaged),
        dangling(layer(&app, gone), gone),
        missing.clone(),
        Finding::LinkEmpty {
            link: emptied.clone(),
        },
        unlinked.clone(),
    ]);
    assert_eq!(check(&registry, REPORT).await.1, expected);
    assert_eq!(objects(&registry).await, before, "a check writes nothing");

    let (checked, found) = check(&registry, MOVE).await;
    assert_eq!(found, expected);
    assert_eq!(
        (checked.repaired, checked.moved, checked.failed),
        (4, 4, 0),
        "{checked:?}"
    );
    assert_eq!(check(&registry, REPORT).await.1, sorted(vec![missing, unlinked]));
    let run = checked.run.unwrap();
    let moved: Vec<_> = keys(&driver)
        .await
        .into_iter()
        .filter(|key| key.starts_with(PathPrefix::TrashOf(run).key().as_str()))
        .collect();
    let journal = PathPrefix::TrashJournal(run).key();
    let lines = moved.iter().filter(|key| key.starts_with(journal.as_str()));
    assert_eq!((lines.count(), moved.len()), (4, 8), "{moved:?}");

    let undone = registry
        .undo_repair(run, LiveServerPolicy::Refuse, &mut |_| {})
        .await
        .unwrap();
    assert_eq!((undone.back, undone.never_left, undone.in_the_way), (4, 0, 0));
    assert_eq!(objects(&registry).await, before, "undone");
    assert_eq!(check(&registry, REPORT).await.1, expected);
    let left: Vec<_> = keys(&driver).await;
    assert!(!left.iter().any(|key| key.contains("/trash/")), "{left:?}");
}
