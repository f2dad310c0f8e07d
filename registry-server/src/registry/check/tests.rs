//! Findings of a check in a broken store, and none in a healthy one; what a repair moves, and that undoing it puts
//! everything back.

mod cut;
mod healthy;
#[cfg(feature = "stores")]
mod stores;

use std::collections::BTreeMap;
use std::path::Path;

use registry_oci::{Algorithm, Digest, MediaType, RepositoryName, Tag};

use super::*;
use crate::registry::tests::content::{
    blob_of, descriptor, keys, name, path, push, push_blob, push_image, referrers_of,
};
use crate::registry::tests::in_folder;
use crate::registry::{Digests, TagHistory, UndoEvent};
use crate::storage::layout::ObjectPath;

const REPORT: CheckOptions = CheckOptions {
    digests: Digests::Hashed,
    repair: Repair::Report,
    live_server_policy: LiveServerPolicy::Refuse,
};

const MOVE: CheckOptions = CheckOptions {
    repair: Repair::Move,
    ..REPORT
};

/// Checks, and returns all findings, sorted.
async fn check(registry: &Registry, checking: CheckOptions) -> (CheckReport, Vec<Finding>) {
    let mut findings = Vec::new();
    let checked = registry
        .check(checking, &mut |event| {
            if let CheckEvent::Found(finding, _) = event {
                findings.push(finding.clone());
            }
        })
        .await
        .unwrap();
    findings.sort_by_key(ToString::to_string);
    (checked, findings)
}

/// All objects of a store, without those in the trash, with their bytes.
async fn objects(registry: &Registry) -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    for key in keys(registry.driver()).await {
        if key.contains("/trash/") {
            continue;
        }
        let parsed = crate::storage::StorageKey::parse(&key).unwrap();
        let bytes = registry.driver().get(&parsed, u64::MAX).await.unwrap();
        objects.insert(key, bytes.to_vec());
    }
    objects
}

/// Damages something, and expects these findings of a check and of a repair. Then a check after the repair finds only
/// what is `left`, and undoing the repair restores every byte.
#[track_caller]
fn breaks(
    folder: &Path,
    registry: &Registry,
    expected: Vec<Finding>,
    left: Vec<Finding>,
) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    let sorted = |mut findings: Vec<Finding>| {
        findings.sort_by_key(ToString::to_string);
        findings
    };
    let (expected, left) = (sorted(expected), sorted(left));
    let (folder, registry) = (folder.to_owned(), registry.clone());
    async move {
        let before = objects(&registry).await;
        let (checked, found) = check(&registry, REPORT).await;
        assert_eq!(found, expected, "{place}: a check");
        assert_eq!(checked.open(), expected.len() as u64, "{place}");
        assert_eq!(
            objects(&registry).await,
            before,
            "{place}: a check writes nothing"
        );
        assert!(!folder.join("docker/registry/berth/v1/trash").exists(), "{place}");

        let (checked, found) = check(&registry, MOVE).await;
        assert_eq!(found, expected, "{place}: a repair");
        assert_eq!(checked.failed, 0, "{place}: {checked:?}");
        let (_, found) = check(&registry, REPORT).await;
        assert_eq!(found, left, "{place}: a check behind a repair");

        let Some(run) = checked.run else {
            return assert_eq!(objects(&registry).await, before, "{place}");
        };
        let undone = registry
            .undo_repair(run, LiveServerPolicy::Refuse, &mut |_| {})
            .await
            .unwrap();
        assert_eq!((undone.back, undone.in_the_way), (checked.moved, 0), "{place}");
        assert_eq!(objects(&registry).await, before, "{place}: undone");
        assert!(
            !folder
                .join("docker/registry/berth/v1/trash")
                .join(run.to_string())
                .exists()
        );
    }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn layer(repository: &RepositoryName, digest: Digest) -> ObjectPath {
    let repository = repository.clone();
    ObjectPath::LayerLink { repository, digest }
}

fn revision(repository: &RepositoryName, digest: Digest) -> ObjectPath {
    let repository = repository.clone();
    ObjectPath::RevisionLink { repository, digest }
}

fn current(repository: &RepositoryName, tag: &str) -> ObjectPath {
    ObjectPath::TagCurrent {
        repository: repository.clone(),
        tag: self::tag(tag),
    }
}

fn history(repository: &RepositoryName, tag: &str, digest: Digest) -> ObjectPath {
    ObjectPath::TagIndex {
        repository: repository.clone(),
        tag: self::tag(tag),
        digest,
    }
}

fn dangling(link: ObjectPath, target: Digest) -> Finding {
    Finding::LinkDangling { link, target }
}

fn write(folder: &Path, place: &ObjectPath, content: &[u8]) {
    let path = path(folder, place);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A folder with one image; returns the digests of its layer and of its manifest.
async fn with_image() -> (tempfile::TempDir, Registry, RepositoryName, Digest, Digest) {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("team/app"));
    let image = push_image(&registry, &app, "v1", "layer").await;
    (folder, registry, app, Digest::sha256(b"layer"), image)
}

#[tokio::test]
async fn a_damaged_blob_is_found_by_its_bytes_and_goes_with_the_links_to_it() {
    for content in [&b"LAYER"[..], b""] {
        let (folder, registry, app, blob, image) = with_image().await;
        let place = ObjectPath::BlobData { digest: blob };
        write(folder.path(), &place, content);
        let missing = Finding::BlobMissing {
            repository: app.clone(),
            manifest: image,
            digest: blob,
        };
        let expected = vec![
            Finding::BlobDamaged {
                digest: blob,
                size: content.len() as u64,
            },
            missing.clone(),
            dangling(layer(&app, blob), blob),
        ];
        breaks(folder.path(), &registry, expected.clone(), vec![missing]).await;
        // Without reading bytes, only a payload that a crash emptied is found.
        let trusting = CheckOptions {
            digests: Digests::Trusted,
            ..REPORT
        };
        let found = check(&registry, trusting).await.1;
        let seen = if content.is_empty() { 3 } else { 0 };
        assert_eq!(found.len(), seen, "{found:?}");
        // A push writes it again.
        let (checked, _) = check(&registry, MOVE).await;
        assert_eq!((checked.repaired, checked.moved), (2, 2));
        push_blob(&registry, &app, &blob, &bytes::Bytes::from_static(b"layer")).await;
        assert_eq!(check(&registry, REPORT).await.1, []);
        // The moved object stays in the trash, because another one is in its place.
        let undone = registry
            .undo_repair(checked.run.unwrap(), LiveServerPolicy::Refuse, &mut |_| {})
            .await
            .unwrap();
        assert_eq!((undone.back, undone.never_left, undone.in_the_way), (0, 1, 1));
        assert_eq!(check(&registry, REPORT).await.1, []);
    }
}

#[tokio::test]
async fn a_blob_that_is_gone_leaves_a_link_that_goes_and_a_manifest_that_is_told() {
    let (folder, registry, app, blob, image) = with_image().await;
    std::fs::remove_file(path(folder.path(), &ObjectPath::BlobData { digest: blob })).unwrap();
    let missing = Finding::BlobMissing {
        repository: app.clone(),
        manifest: image,
        digest: blob,
    };
    let expected = vec![dangling(layer(&app, blob), blob), missing.clone()];
    breaks(folder.path(), &registry, expected, vec![missing]).await;
}

#[tokio::test]
async fn a_manifest_that_is_damaged_or_gone_goes_with_the_tags_that_mean_it() {
    for content in [Some(&b"{}"[..]), Some(b""), None] {
        let (folder, registry, app, _, image) = with_image().await;
        let other = name("other");
        push(&registry, &other, "kept", &MediaType::OCI_INDEX, empty_index()).await;
        let place = ObjectPath::BlobData { digest: image };
        match content {
            Some(content) => write(folder.path(), &place, content),
            None => std::fs::remove_file(path(folder.path(), &place)).unwrap(),
        }
        let damaged = content.map(|content| Finding::BlobDamaged {
            digest: image,
            size: content.len() as u64,
        });
        let expected = [
            dangling(revision(&app, image), image),
            Finding::TagDangling {
                repository: app.clone(),
                tag: tag("v1"),
                digest: image,
            },
        ];
        let expected: Vec<_> = expected.into_iter().chain(damaged).collect();
        // Manifests are always read.
        let trusting = CheckOptions {
            digests: Digests::Trusted,
            ..REPORT
        };
        assert_eq!(check(&registry, trusting).await.1.len(), expected.len());
        breaks(folder.path(), &registry, expected, vec![]).await;
        check(&registry, MOVE).await;
        assert_eq!(registry.tags(&app, None, None).await.unwrap().items, []);
        assert_eq!(
            registry.tags(&other, None, None).await.unwrap().items,
            [tag("kept")]
        );
    }
}

fn empty_index() -> String {
    r#"{"schemaVersion":2,"manifests":[]}"#.to_owned()
}

#[tokio::test]
async fn links_that_hold_nothing_or_something_else_are_found_wherever_they_are() {
    let other = Digest::sha256(b"{}"); // The config, which is there.
    for content in [
        "",
        "\0\0\0\0",
        "sha256:short",
        &"x".repeat(5000),
        &other.to_string(),
    ] {
        let (folder, registry, app, blob, image) = with_image().await;
        let wrong = |link: ObjectPath| match content == other.to_string() {
            true => Finding::LinkWrong { link, holds: other },
            false => Finding::LinkEmpty { link },
        };
        let missing = Finding::BlobMissing {
            repository: app.clone(),
            manifest: image,
            digest: blob,
        };
        write(folder.path(), &layer(&app, blob), content.as_bytes());
        let expected = vec![wrong(layer(&app, blob)), missing.clone()];
        breaks(folder.path(), &registry, expected, vec![missing]).await;

        let (folder, registry, app, _, image) = with_image().await;
        write(folder.path(), &revision(&app, image), content.as_bytes());
        let tag = Finding::TagDangling {
            repository: app.clone(),
            tag: tag("v1"),
            digest: image,
        };
        let expected = vec![wrong(revision(&app, image)), tag];
        breaks(folder.path(), &registry, expected, vec![]).await;

        let (folder, registry, app, _, image) = with_image().await;
        let entry = history(&app, "v1", image);
        write(folder.path(), &entry, content.as_bytes());
        breaks(folder.path(), &registry, vec![wrong(entry)], vec![]).await;
    }
}

#[tokio::test]
async fn a_tag_that_means_what_is_not_there_goes_with_its_history() {
    let (folder, registry, app, _, image) = with_image().await;
    let gone = Digest::sha256(b"gone");
    write(folder.path(), &current(&app, "v2"), gone.to_string().as_bytes());
    for digest in [gone, image] {
        write(
            folder.path(),
            &history(&app, "v2", digest),
            digest.to_string().as_bytes(),
        );
    }
    let finding = Finding::TagDangling {
        repository: app.clone(),
        tag: tag("v2"),
        digest: gone,
    };
    breaks(folder.path(), &registry, vec![finding], vec![]).await;
    check(&registry, MOVE).await;
    assert_eq!(registry.tags(&app, None, None).await.unwrap().items, [tag("v1")]);
}

#[tokio::test]
async fn a_tag_that_says_nothing_stays_as_long_as_its_history_keeps_something_alive() {
    let (folder, registry, app, _, image) = with_image().await;
    let unset = |history| Finding::TagUnset {
        repository: app.clone(),
        tag: tag("v1"),
        history,
    };
    write(folder.path(), &current(&app, "v1"), b"");
    let partly = unset(TagHistory::Recoverable);
    breaks(folder.path(), &registry, vec![partly.clone()], vec![partly]).await;
    // After a repair, a collection of untagged manifests still keeps those that the tag may have meant.
    check(&registry, MOVE).await;
    let collecting = crate::registry::CollectionOptions {
        untagged: crate::registry::Untagged::Delete,
        min_age: Duration::ZERO,
        ..Default::default()
    };
    let collected = registry.collect_garbage(&collecting, &mut |_| {}).await.unwrap();
    assert_eq!(collected.manifests_removed, 0);
    std::fs::remove_file(path(folder.path(), &revision(&app, image))).unwrap();
    breaks(folder.path(), &registry, vec![unset(TagHistory::Lost)], vec![]).await;
}

#[tokio::test]
async fn a_tag_without_a_link_goes_whatever_its_history_says() {
    let (folder, registry, app, _, image) = with_image().await;
    let unset = |text: &str| Finding::TagUnset {
        repository: app.clone(),
        tag: tag(text),
        history: TagHistory::Lost,
    };
    write(
        folder.path(),
        &history(&app, "past", image),
        image.to_string().as_bytes(),
    );
    breaks(folder.path(), &registry, vec![unset("past")], vec![]).await;
    check(&registry, MOVE).await;
    // A folder alone makes a tag that is listed. It holds no object that could be put back.
    let empty = path(folder.path(), &current(&app, "empty"));
    std::fs::create_dir_all(empty.parent().unwrap()).unwrap();
    assert_eq!(check(&registry, REPORT).await.1, [unset("empty")]);
    let (checked, _) = check(&registry, MOVE).await;
    assert_eq!((checked.repaired, checked.open()), (1, 0), "{checked:?}");
    assert_eq!(registry.tags(&app, None, None).await.unwrap().items, [tag("v1")]);
    assert_eq!(check(&registry, REPORT).await.1, []);
}

#[tokio::test]
async fn what_a_manifest_mentions_must_be_there_in_its_repository_with_its_size() {
    let (folder, registry, app, blob, image) = with_image().await;
    // Another repository has the layer, but not this one.
    let other = name("other");
    for (repository, said) in [(&app, 5), (&app, 6), (&other, 5)] {
        let config = blob_of(&registry, repository, "{}").await;
        let text = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{0},{0}],"annotations":{{"a":"b"}}}}"#,
            descriptor(&blob, said)
        );
        let digest = Digest::sha256(text.as_bytes());
        write(folder.path(), &ObjectPath::BlobData { digest }, text.as_bytes());
        let link = revision(repository, digest);
        write(folder.path(), &link, digest.to_string().as_bytes());
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
            descriptor(&digest, text.len()),
            descriptor(&Digest::sha256(b"no manifest"), 1)
        );
        let index_digest = Digest::sha256(index.as_bytes());
        write(
            folder.path(),
            &ObjectPath::BlobData { digest: index_digest },
            index.as_bytes(),
        );
        let index_link = revision(repository, index_digest);
        write(folder.path(), &index_link, index_digest.to_string().as_bytes());
        let mut expected = vec![Finding::ManifestMissing {
            repository: repository.clone(),
            manifest: index_digest,
            digest: Digest::sha256(b"no manifest"),
        }];
        if *repository == other {
            expected.push(Finding::BlobMissing {
                repository: other.clone(),
                manifest: digest,
                digest: blob,
            });
        } else if said == 6 {
            expected.push(Finding::WrongSize {
                repository: app.clone(),
                manifest: digest,
                digest: blob,
                said: 6,
                actual: 5,
            });
        }
        breaks(folder.path(), &registry, expected.clone(), expected).await;
        for link in [link, index_link] {
            std::fs::remove_file(path(folder.path(), &link)).unwrap();
        }
    }
    assert_ne!(blob, image);
}

#[tokio::test]
async fn a_manifest_nobody_can_read_is_told_and_stays() {
    let (folder, registry, app, ..) = with_image().await;
    for text in ["[]", "{", "\0"] {
        let digest = Digest::sha256(text.as_bytes());
        write(folder.path(), &ObjectPath::BlobData { digest }, text.as_bytes());
        let link = revision(&app, digest);
        write(folder.path(), &link, digest.to_string().as_bytes());
        let (_, found) = check(&registry, MOVE).await;
        assert!(
            matches!(&found[..], [Finding::ManifestUnreadable { digest: of, .. }] if *of == digest),
            "{text}: {found:?}"
        );
        std::fs::remove_file(path(folder.path(), &link)).unwrap();
    }
}

#[tokio::test]
async fn other_digests_and_their_links_must_lead_to_what_they_say() {
    let (folder, app) = (tempfile::tempdir().unwrap(), name("team/app"));
    let registry = in_folder(folder.path());
    let content = bytes::Bytes::from_static(b"content");
    let (stored, other) = (Digest::sha256(&content), Digest::of(Algorithm::Sha512, &content));
    push_blob(&registry, &app, &other, &content).await;
    assert_eq!(check(&registry, REPORT).await.1, []);
    let alias = ObjectPath::BlobAlias { digest: other };
    let elsewhere = Digest::sha256(b"elsewhere");
    write(
        folder.path(),
        &ObjectPath::BlobData { digest: elsewhere },
        b"elsewhere",
    );
    for link in [&alias, &layer(&app, other)] {
        write(folder.path(), link, elsewhere.to_string().as_bytes());
        let wrong = Finding::LinkWrong {
            link: link.clone(),
            holds: elsewhere,
        };
        breaks(folder.path(), &registry, vec![wrong], vec![]).await;
        write(folder.path(), link, stored.to_string().as_bytes());
    }
    std::fs::remove_file(path(folder.path(), &ObjectPath::BlobData { digest: stored })).unwrap();
    let expected = vec![
        dangling(alias, stored),
        dangling(layer(&app, other), stored),
        dangling(layer(&app, stored), stored),
    ];
    breaks(folder.path(), &registry, expected, vec![]).await;
}

#[tokio::test]
async fn the_index_of_referrers_is_mended_by_forgetting() {
    let (folder, registry, app, _, image) = with_image().await;
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[],"subject":{}}}"#,
        descriptor(&image, 1)
    );
    let referrer = push(&registry, &app, "", &MediaType::OCI_INDEX, text).await;
    let entry = ObjectPath::ReferrerEntry {
        repository: app.clone(),
        subject: image,
        referrer,
    };
    let listed = async || referrers_of(&registry, &app, &image).await;
    let whole = listed().await;
    assert_eq!(whole.len(), 1);
    write(folder.path(), &entry, b"{");
    let unreadable = Finding::ReferrerUnreadable {
        repository: app.clone(),
        subject: image,
        referrer,
    };
    breaks(folder.path(), &registry, vec![unreadable], vec![]).await;
    std::fs::remove_file(path(folder.path(), &entry)).unwrap();
    assert_eq!(listed().await, []);
    let lost = Finding::ReferrerLost {
        repository: app.clone(),
        subject: image,
        referrer,
    };
    breaks(folder.path(), &registry, vec![lost], vec![]).await;
    check(&registry, MOVE).await;
    assert_eq!(listed().await, whole);
    assert_eq!(check(&registry, REPORT).await.1, []);
}

#[tokio::test]
async fn a_folder_that_is_no_repository_and_what_cannot_be_read_are_told_and_the_rest_is_checked() {
    let (folder, registry, app, blob, _) = with_image().await;
    let home = folder.path().join("docker/registry/v2/repositories");
    std::fs::create_dir_all(home.join("Old/_manifests")).unwrap();
    // A symbolic link to itself cannot be read by anybody.
    let looped = path(folder.path(), &layer(&app, Digest::sha256(b"{}")));
    std::fs::remove_file(&looped).unwrap();
    std::os::unix::fs::symlink(&looped, &looped).unwrap();
    write(folder.path(), &layer(&app, blob), b"");
    let (_, found) = check(&registry, REPORT).await;
    let kinds: Vec<_> = found.iter().map(Finding::kind).collect();
    assert!(kinds.contains(&"repository-strange"), "{kinds:?}");
    assert!(kinds.contains(&"link-empty"), "{kinds:?}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_ends_the_check() {
    let (folder, registry, app, ..) = with_image().await;
    for number in 0..30 {
        blob_of(&registry, &app, &number.to_string()).await;
    }
    let layers = folder
        .path()
        .join("docker/registry/v2/repositories/team/app/_layers/sha256");
    for entry in std::fs::read_dir(layers).unwrap() {
        let link = entry.unwrap().path().join("link");
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&link, &link).unwrap();
    }
    let error = registry.check(REPORT, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CheckError::Unresponsive { .. }), "{error:?}");
}

#[tokio::test]
async fn a_repair_does_not_begin_beside_a_live_server_unless_forced_and_an_unknown_one_is_not_undone() {
    let (folder, registry, app, blob, _) = with_image().await;
    let link = layer(&app, blob);
    write(folder.path(), &link, b"");
    let writer = crate::registry::LiveServer::this_process();
    registry.announce(&writer).await.unwrap();
    assert_eq!(check(&registry, REPORT).await.1.len(), 2);
    let error = registry.check(MOVE, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CheckError::LiveServers { .. }), "{error:?}");
    assert!(path(folder.path(), &link).exists());
    let forced = CheckOptions {
        live_server_policy: LiveServerPolicy::Ignore,
        ..MOVE
    };
    let (checked, _) = check(&registry, forced).await;
    assert_eq!(checked.repaired, 1);
    let undo =
        async |run, live_server_policy| registry.undo_repair(run, live_server_policy, &mut |_| {}).await;
    let run = checked.run.unwrap();
    let error = undo(run, LiveServerPolicy::Refuse).await.unwrap_err();
    assert!(matches!(error, CheckError::LiveServers { .. }), "{error:?}");
    assert_eq!(undo(run, LiveServerPolicy::Ignore).await.unwrap().back, 1);
    let error = undo(run, LiveServerPolicy::Ignore).await.unwrap_err();
    assert!(matches!(error, CheckError::NoSuchRepair { .. }), "{error:?}");
}

#[tokio::test]
async fn a_repair_sweeps_what_interrupted_writes_left_and_a_check_does_not() {
    let (folder, registry, app, blob, _) = with_image().await;
    let data = path(folder.path(), &ObjectPath::BlobData { digest: blob });
    let stray = data.with_file_name(format!("data.{}.tmp", Uuid::new_v4()));
    std::fs::write(&stray, "left").unwrap();
    let old = std::time::SystemTime::now() - 2 * LEFTOVER;
    let file = std::fs::File::options().write(true).open(&stray).unwrap();
    file.set_modified(old).unwrap();
    assert_eq!(check(&registry, REPORT).await.1, []);
    assert!(stray.exists());
    let (checked, found) = check(&registry, MOVE).await;
    assert_eq!((found, checked.swept.objects, checked.run), (vec![], 1, None));
    assert!(!stray.exists());
    assert!(path(folder.path(), &layer(&app, blob)).exists());
}

#[test]
fn every_finding_is_one_sentence_that_says_what_a_repair_does() {
    let (r, d, t) = (name("team/app"), Digest::sha256(b"x"), tag("v1"));
    let link = layer(&r, d);
    for finding in [
        Finding::BlobDamaged { digest: d, size: 1 },
        Finding::LinkEmpty { link: link.clone() },
        Finding::LinkWrong {
            link: link.clone(),
            holds: d,
        },
        dangling(link, d),
        Finding::TagDangling {
            repository: r.clone(),
            tag: t.clone(),
            digest: d,
        },
        Finding::TagUnset {
            repository: r.clone(),
            tag: t.clone(),
            history: TagHistory::Lost,
        },
        Finding::TagUnset {
            repository: r.clone(),
            tag: t,
            history: TagHistory::Recoverable,
        },
        Finding::ManifestUnreadable {
            repository: r.clone(),
            digest: d,
            reason: "it is a list".to_owned(),
        },
        Finding::BlobMissing {
            repository: r.clone(),
            manifest: d,
            digest: d,
        },
        Finding::ManifestMissing {
            repository: r.clone(),
            manifest: d,
            digest: d,
        },
        Finding::WrongSize {
            repository: r.clone(),
            manifest: d,
            digest: d,
            said: 1,
            actual: 2,
        },
        Finding::ReferrerUnreadable {
            repository: r.clone(),
            subject: d,
            referrer: d,
        },
        Finding::ReferrerLost {
            repository: r,
            subject: d,
            referrer: d,
        },
        Finding::RepositoryNameInvalid {
            name: "Old\n".to_owned(),
        },
        Finding::Unreadable {
            cause: "cannot read a link".to_owned(),
        },
    ] {
        let text = finding.to_string();
        assert!(
            text.contains("`--repair`")
                && !text.contains('\n')
                && !text.contains("  ")
                && !text.ends_with('.'),
            "{text}"
        );
    }
}
