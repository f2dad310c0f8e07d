//! The objects that a copy writes to the target, their order, and what an interrupted copy leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use registry_oci::{Algorithm, Digest, MediaType, Reference, Tag};

use super::*;
use crate::registry::Finding;
use crate::registry::tests::content::{descriptor, keys, name, path, push, push_blob, push_image};
use crate::registry::tests::in_folder;
use crate::registry::{CheckEvent, CheckOptions, Digests, Repair, Settings};
use crate::storage::layout::ObjectPath;
use crate::storage::{InMemory, StorageKey};

fn in_memory() -> Registry {
    Registry::new(Arc::new(InMemory::new()), Settings::default())
}

/// Copies, and returns all findings, sorted.
async fn copy(source: &Registry, target: &Registry) -> (CopyReport, Vec<Finding>) {
    let (mut copied, mut findings) = (CopyReport::default(), Vec::new());
    let mut watch = |event: CopyEvent<'_>| {
        if let CopyEvent::LeftOut(finding) = event {
            findings.push(finding.clone());
        }
    };
    source
        .copy_to(target, LiveServerPolicy::Refuse, &mut copied, &mut watch)
        .await
        .unwrap();
    findings.sort_by_key(ToString::to_string);
    (copied, findings)
}

async fn attempt(
    source: &Registry,
    target: &Registry,
    live_server_policy: LiveServerPolicy,
) -> Result<(), CopyError> {
    source
        .copy_to(
            target,
            live_server_policy,
            &mut CopyReport::default(),
            &mut |_| {},
        )
        .await
}

/// All objects of a store with their bytes, without those that a copy leaves out.
async fn objects(registry: &Registry) -> BTreeMap<String, Bytes> {
    let mut objects = BTreeMap::new();
    for key in keys(registry.driver()).await {
        let parsed = StorageKey::parse(&key).unwrap();
        match ObjectPath::parse(&parsed).unwrap_or_else(|| panic!("nobody knows {key}")) {
            ObjectPath::UploadData { .. }
            | ObjectPath::UploadStartedAt { .. }
            | ObjectPath::UploadHashState { .. } => {}
            _ => drop(objects.insert(key, registry.driver().get(&parsed, u64::MAX).await.unwrap())),
        }
    }
    objects
}

/// A store with an object of every kind.
async fn filled(folder: &Path) -> Registry {
    let registry = in_folder(folder);
    let (app, deep) = (name("team/app"), name("a/very/deep/name"));
    let image = push_image(&registry, &app, "v1", "layer").await;
    push_image(&registry, &app, "v1", "another layer").await;
    push_image(&registry, &deep, "v1", "layer").await;
    let referrer = format!(
        r#"{{"schemaVersion":2,"manifests":[],"subject":{}}}"#,
        descriptor(&image, 1)
    );
    push(&registry, &app, "", &MediaType::OCI_INDEX, referrer.clone()).await;
    let content = Bytes::from_static(b"by sha512");
    push_blob(
        &registry,
        &app,
        &Digest::of(Algorithm::Sha512, &content),
        &content,
    )
    .await;
    let text = referrer.replace("[]", "[ ]");
    let reference = Reference::Digest(Digest::of(Algorithm::Sha512, text.as_bytes()));
    let put = registry.put_manifest(&app, &reference, &MediaType::OCI_INDEX, text.into(), &[]);
    put.await.unwrap();
    registry.start_upload(&app).await.unwrap();
    registry
}

/// The findings of a check of every byte.
async fn findings(registry: &Registry) -> Vec<Finding> {
    let checking = CheckOptions {
        digests: Digests::Hashed,
        repair: Repair::Report,
        live_server_policy: LiveServerPolicy::Refuse,
    };
    let mut findings = Vec::new();
    let mut watch = |event: CheckEvent<'_>| {
        if let CheckEvent::Found(finding, _) = event {
            findings.push(finding.clone());
        }
    };
    registry.check(checking, &mut watch).await.unwrap();
    findings
}

#[tokio::test]
async fn everything_arrives_in_a_folder_and_in_memory_and_a_second_copy_has_nothing_to_do() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = filled(folder.path()).await;
    for target in [in_folder(other.path()), in_memory()] {
        let expected = objects(&source).await;
        let (copied, left) = copy(&source, &target).await;
        assert_eq!(left, []);
        assert_eq!(objects(&target).await, expected);
        assert_eq!((copied.repositories, copied.tags, copied.uploads), (2, 2, 1));
        let (again, _) = copy(&source, &target).await;
        assert_eq!((again.blobs, again.bytes, again.links, again.tags), (0, 0, 0, 0));
        assert_eq!(
            (again.blobs_there, again.links_there, again.tags_there),
            (copied.blobs, copied.links, copied.tags)
        );
        assert_eq!(findings(&target).await, []);
        // A tag that is set again in the source is set again by the next copy.
        let (app, tag) = (name("team/app"), Tag::parse("v1").unwrap());
        let moved = push_image(&source, &app, "v1", &format!("newer than {}", copied.blobs)).await;
        copy(&source, &target).await;
        assert_eq!(target.tag_target(&app, &tag).await.unwrap(), Some(moved));
    }
}

#[tokio::test]
async fn what_is_damaged_stays_behind_with_what_hangs_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = in_folder(folder.path());
    let (app, good) = (name("team/app"), name("good"));
    let torn = push_image(&source, &app, "torn", "layer").await;
    push_image(&source, &good, "v1", "whole").await;
    push_image(&source, &app, "lost", "something else").await;
    let blob = Digest::sha256(b"layer");
    let write = |place: &ObjectPath, text: &str| std::fs::write(path(folder.path(), place), text).unwrap();
    let layer = |digest| ObjectPath::LayerLink {
        repository: app.clone(),
        digest,
    };
    write(&ObjectPath::BlobData { digest: blob }, "LAYER");
    write(&ObjectPath::BlobData { digest: torn }, "");
    write(&layer(Digest::sha256(b"{}")), "");
    write(&layer(Digest::sha256(b"something else")), &blob.to_string());
    let target = in_memory();
    let (copied, left) = copy(&source, &target).await;
    let kinds: Vec<_> = left.iter().map(Finding::kind).collect();
    assert_eq!(
        kinds.iter().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "blob-damaged",
            "link-dangling",
            "link-empty",
            "link-wrong",
            "tag-dangling"
        ]),
        "{left:?}"
    );
    assert_eq!((left.len(), copied.left_out), (7, 7), "{left:?}");
    for digest in [blob, torn] {
        let key = ObjectPath::BlobData { digest }.key();
        assert!(
            target.driver().stat(&key).await.unwrap_err().is_not_found(),
            "{digest}"
        );
    }
    let tags = async |repository| target.tags(repository, None, None).await.unwrap().items;
    assert_eq!(tags(&good).await.len(), 1);
    assert_eq!(tags(&app).await, [Tag::parse("lost").unwrap()]);
}

#[tokio::test]
async fn a_truncated_blob_at_the_target_is_replaced_when_its_size_tells() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = filled(folder.path()).await;
    let target = in_folder(other.path());
    copy(&source, &target).await;
    let place = ObjectPath::BlobData {
        digest: Digest::sha256(b"layer"),
    };
    std::fs::write(path(other.path(), &place), "lay").unwrap();
    let (copied, _) = copy(&source, &target).await;
    assert_eq!(copied.blobs, 1);
    assert_eq!(findings(&target).await, []);
}

/// Polls a future a number of times and then drops it, as a kill does.
async fn cut_after<F: Future>(steps: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = steps;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_copy_that_is_cut_off_anywhere_shows_no_link_that_leads_nowhere_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let source = filled(folder.path()).await;
    push_blob(
        &source,
        &name("large"),
        &Digest::sha256(&[7; 5 << 20]),
        &Bytes::from(vec![7; 5 << 20]),
    )
    .await;
    let expected = objects(&source).await;
    let mut steps = 1;
    loop {
        let other = tempfile::tempdir().unwrap();
        let target = in_folder(other.path());
        let (mut copied, mut watch) = (CopyReport::default(), |_: CopyEvent<'_>| {});
        let copying = source.copy_to(&target, LiveServerPolicy::Refuse, &mut copied, &mut watch);
        let finished = cut_after(steps, copying).await;
        // As in a push, the history of a tag is written before its link.
        let found = findings(&target).await;
        assert!(
            found.iter().all(|finding| finding.kind() == "tag-unset"),
            "after {steps} steps: {found:?}"
        );
        copy(&source, &target).await;
        let mut now = objects(&target).await;
        // The heartbeat of the interrupted copy becomes stale by itself.
        now.retain(|key, _| !key.contains("/writers/") && !key.contains("/probes/"));
        assert!(now == expected, "after {steps} steps: {:?}", now.keys());
        if let Some(result) = finished {
            result.unwrap();
            assert!(steps > 30, "a copy has many steps, not {steps}");
            return;
        }
        // Most steps are alike.
        steps += 1 + steps / 8;
    }
}

#[tokio::test]
async fn one_store_is_not_copied_into_itself_whatever_way_leads_there() {
    let folder = tempfile::tempdir().unwrap();
    let source = filled(folder.path()).await;
    let before = objects(&source).await;
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    for target in [in_folder(folder.path()), in_folder(&link), source.clone()] {
        let error = attempt(&source, &target, LiveServerPolicy::Ignore)
            .await
            .unwrap_err();
        assert!(matches!(error, CopyError::SameStore), "{error:?}");
    }
    assert_eq!(objects(&source).await, before);
}

#[tokio::test]
async fn a_target_that_a_server_writes_to_is_refused_and_one_that_is_copied_into_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (filled(folder.path()).await, in_memory());
    let copy = async |live_server_policy| attempt(&source, &target, live_server_policy).await;
    target.announce(&LiveServer::copying_process()).await.unwrap();
    copy(LiveServerPolicy::Refuse).await.unwrap();
    // A collection is blocked by any heartbeat.
    let collecting = crate::registry::CollectionOptions::default();
    let refused = target
        .collect_garbage(&collecting, &mut |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(refused, crate::registry::GarbageError::LiveServers { .. }),
        "{refused:?}"
    );
    let server = LiveServer::this_process();
    target.announce(&server).await.unwrap();
    let refused = copy(LiveServerPolicy::Refuse).await.unwrap_err();
    assert!(
        matches!(&refused, CopyError::LiveServers { servers } if servers.len() == 1),
        "{refused:?}"
    );
    copy(LiveServerPolicy::Ignore).await.unwrap();
}

#[tokio::test]
async fn a_target_that_cannot_be_written_ends_the_copy_at_once() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = filled(folder.path()).await;
    // A symbolic link to itself is no folder for anybody.
    std::os::unix::fs::symlink("docker", other.path().join("docker")).unwrap();
    let target = in_folder(other.path());
    let error = attempt(&source, &target, LiveServerPolicy::Refuse)
        .await
        .unwrap_err();
    assert!(matches!(error, CopyError::Target { .. }), "{error:?}");
}
