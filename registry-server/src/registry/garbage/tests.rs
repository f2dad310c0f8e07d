//! A collection compared with a model that knows nothing of the store; and how a crash, a truncated file, a young file
//! and pushes at the same time change what it keeps.

mod crash;
mod model;
mod pushes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use registry_oci::{Digest, MediaType, Reference, RepositoryName, Tag};

use super::*;
use crate::registry::tests::content::{
    blob_of, descriptor, keys, name, path, push, push_blob, push_image, referrers_of,
};
use crate::registry::tests::in_folder;
use crate::registry::{Eligible, Untagged};
use crate::registry::{LiveServer, Settings};
use crate::storage::layout::ObjectPath;
use crate::storage::{Driver, Durability, InMemory, Mode, StorageKey};

const HOUR: Duration = Duration::from_secs(3600);

/// Everything that exists when the collection begins is old enough.
fn at_once(untagged: Untagged) -> CollectionOptions {
    CollectionOptions {
        untagged,
        min_age: Duration::ZERO,
        ..CollectionOptions::default()
    }
}

async fn collect(registry: &Registry, collecting: &CollectionOptions) -> CollectionReport {
    let collected = registry.collect_garbage(collecting, &mut |_| {}).await.unwrap();
    assert_eq!(collected.failed, 0, "{collected:?}");
    collected
}

/// Sets the times of all files below a folder back.
fn age(folder: &Path, ago: Duration) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path, ago);
        } else {
            age_file(&path, ago);
        }
    }
}

fn age_file(path: &Path, ago: Duration) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - ago).unwrap();
}

#[tokio::test]
async fn what_no_manifest_refers_to_goes_with_its_links_and_empty_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("team/app"));
    let kept = push_image(&registry, &app, "v1", "layer").await;
    let before = keys(registry.driver()).await;
    let dropped = push_image(&registry, &app, "v2", "another layer").await;
    registry.delete_manifest(&app, &dropped).await.unwrap();
    let collected = collect(&registry, &at_once(Untagged::Keep)).await;
    assert_eq!(
        (
            collected.blobs_removed,
            collected.layers_removed,
            collected.blobs_kept
        ),
        (2, 1, 3),
        "{collected:?}"
    );
    assert_eq!(
        collected.bytes_removed,
        dropped_bytes(&collected),
        "{collected:?}"
    );
    assert_eq!(keys(registry.driver()).await, before);
    let layer = Digest::sha256(b"another layer");
    let gone = path(folder.path(), &ObjectPath::BlobData { digest: layer });
    assert!(!gone.parent().unwrap().exists());
    registry
        .get_manifest(
            &app,
            &Reference::Digest(kept),
            &crate::registry::Accepts::Anything,
        )
        .await
        .unwrap();
    // Nothing is left to do, and no folder of the repository was removed.
    assert_eq!(
        collect(&registry, &at_once(Untagged::Delete)).await.blobs_removed,
        0
    );
}

/// The bytes of the layer and the manifest that were removed. The config belongs to the kept image too.
fn dropped_bytes(collected: &CollectionReport) -> u64 {
    assert_eq!(collected.blobs_removed, 2);
    let layer = "another layer";
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        descriptor(&Digest::sha256(b"{}"), 2),
        descriptor(&Digest::sha256(layer.as_bytes()), layer.len())
    );
    (layer.len() + manifest.len()) as u64
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("team/app"));
    let dropped = push_image(&registry, &app, "", "layer").await;
    let before = keys(registry.driver()).await;
    let told = async |removal| {
        let collecting = CollectionOptions {
            removal,
            ..at_once(Untagged::Delete)
        };
        let mut told = Vec::new();
        let collected = registry
            .collect_garbage(&collecting, &mut |event| {
                if let CollectionEvent::Eligible(eligible) = event {
                    told.push(format!("{eligible:?}"));
                }
            })
            .await
            .unwrap();
        told.sort_unstable();
        (told, collected.bytes_removed)
    };
    let dry = told(Removal::DryRun).await;
    assert_eq!(keys(registry.driver()).await, before);
    let manifest = format!("{:?}", Eligible::Manifest(app.clone(), dropped));
    assert!(dry.0.contains(&manifest), "{dry:#?}");
    assert_eq!(told(Removal::Remove).await, dry);
    assert_eq!(keys(registry.driver()).await, [] as [String; 0]);
}

#[tokio::test]
async fn what_is_younger_than_the_minimum_age_stays_with_all_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    let image = push_image(&registry, &app, "", "layer").await;
    for content in ["old", "young", "linked just now"] {
        blob_of(&registry, &app, content).await;
    }
    age(folder.path(), HOUR * 2);
    let layer = |content: &str| ObjectPath::LayerLink {
        repository: app.clone(),
        digest: Digest::sha256(content.as_bytes()),
    };
    let data = |content: &str| ObjectPath::BlobData {
        digest: Digest::sha256(content.as_bytes()),
    };
    age_file(&path(folder.path(), &data("young")), HOUR / 2);
    age_file(&path(folder.path(), &layer("linked just now")), HOUR / 2);
    // An untagged manifest that was linked just now; its blobs are two hours old.
    let link = ObjectPath::RevisionLink {
        repository: app.clone(),
        digest: image,
    };
    age_file(&path(folder.path(), &link), HOUR / 2);
    let careful = CollectionOptions {
        untagged: Untagged::Delete,
        ..CollectionOptions::default()
    };
    let collected = collect(&registry, &careful).await;
    assert_eq!(
        (collected.blobs_removed, collected.manifests_removed),
        (1, 0),
        "{collected:?}"
    );
    let there = |place: ObjectPath| path(folder.path(), &place).exists();
    assert_eq!((there(data("old")), there(layer("old"))), (false, false));
    for content in ["young", "linked just now", "layer", "{}"] {
        assert!(there(data(content)) && there(layer(content)), "{content}");
    }
    age(folder.path(), HOUR * 2);
    collect(&registry, &careful).await;
    assert_eq!(keys(registry.driver()).await, [] as [String; 0]);
}

#[tokio::test]
async fn who_is_told_that_a_blob_is_there_can_count_on_it_for_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app, other) = (in_folder(folder.path()), name("app"), name("other"));
    for content in [
        "asked for",
        "mounted",
        "mounted from anywhere",
        "of a manifest",
        "forgotten",
    ] {
        blob_of(&registry, &app, content).await;
    }
    let image = push_image(&registry, &app, "", "of a child").await;
    age(folder.path(), HOUR * 2);
    let digest = |content: &str| Digest::sha256(content.as_bytes());
    registry.head_blob(&app, &digest("asked for")).await.unwrap();
    let mounted = registry.mount_blob(&other, &digest("mounted"), Some(&app)).await;
    assert!(mounted.unwrap().is_some());
    let mounted = registry
        .mount_blob(&other, &digest("mounted from anywhere"), None)
        .await;
    assert!(mounted.unwrap().is_some());
    let layer = descriptor(&digest("of a manifest"), 13);
    let text = format!(r#"{{"schemaVersion":2,"config":{layer},"layers":[]}}"#);
    push(&registry, &app, "", &MediaType::OCI_MANIFEST, text).await;
    // An index keeps the manifests that it lists, and those keep their content.
    let payload = ObjectPath::BlobData { digest: image }.key();
    let size = registry.driver().stat(&payload).await.unwrap().size;
    let child = descriptor(&image, size as usize);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#);
    let index = push(&registry, &app, "", &MediaType::OCI_INDEX, index).await;
    // As if the collection had read the store before the manifests were pushed: only their age keeps their content.
    for digest in [index, image] {
        registry.delete_manifest(&app, &digest).await.unwrap();
    }
    let collected = collect(&registry, &CollectionOptions::default()).await;
    assert_eq!(collected.blobs_removed, 1, "{collected:?}");
    for content in [
        "asked for",
        "mounted",
        "mounted from anywhere",
        "of a manifest",
        "of a child",
        "{}",
    ] {
        registry.head_blob(&app, &digest(content)).await.unwrap();
    }
    registry.head_blob(&app, &digest("forgotten")).await.unwrap_err();
}

#[tokio::test]
async fn a_manifest_that_stays_and_cannot_be_read_ends_the_collection_before_it_removes_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    let image = push_image(&registry, &app, "v1", "layer").await;
    blob_of(&registry, &app, "garbage").await;
    let payload = path(folder.path(), &ObjectPath::BlobData { digest: image });
    let whole = std::fs::read(&payload).unwrap();
    let no_manifest = Bytes::from("not a document");
    for torn in [&whole[..whole.len() / 2], b""] {
        std::fs::write(&payload, torn).unwrap();
        let before = keys(registry.driver()).await;
        for untagged in [Untagged::Keep, Untagged::Delete] {
            let error = registry
                .collect_garbage(&at_once(untagged), &mut |_| {})
                .await
                .unwrap_err();
            let GarbageError::Unreadable { repository, digest } = &error else {
                panic!("{error:?}");
            };
            assert_eq!((repository, digest), (&app, &image));
            assert_eq!(keys(registry.driver()).await, before);
        }
    }
    // Without a tag it is removed like any other, and so is its content.
    registry
        .delete_tag(&app, &registry_oci::Tag::parse("v1").unwrap())
        .await
        .unwrap();
    let collected = collect(&registry, &at_once(Untagged::Delete)).await;
    assert_eq!(
        (collected.manifests_removed, collected.blobs_kept),
        (1, 0),
        "{collected:?}"
    );
    // Nobody can tell what bytes refer to that have their digest and are no manifest.
    let digest = Digest::sha256(&no_manifest);
    push_blob(&registry, &app, &digest, &no_manifest).await;
    registry.link_manifest(&app, digest, digest).await.unwrap();
    let error = registry
        .collect_garbage(&at_once(Untagged::Keep), &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, GarbageError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_other_servers_left_keeps_what_it_names_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    let mut kept = Vec::new();
    let mut old = async |kind: &str, document: &dyn Fn(&Digest) -> String| {
        let blob = Digest::sha256(kind.as_bytes());
        blob_of(&registry, &app, kind).await;
        let document = Bytes::from(document(&blob));
        let digest = Digest::sha256(&document);
        let key = ObjectPath::BlobData { digest }.key();
        registry
            .driver()
            .put(&key, document, Mode::Replace, Durability::Crash)
            .await
            .unwrap();
        registry.link_manifest(&app, digest, digest).await.unwrap();
        kept.extend([blob, digest]);
        digest
    };
    old("schema 1", &|d| {
        format!(r#"{{"schemaVersion":1,"fsLayers":[{{"blobSum":"{d}"}}]}}"#)
    })
    .await;
    old("no size", &|d| {
        format!(r#"{{"schemaVersion":2,"layers":[{{"digest":"{d}"}}]}}"#)
    })
    .await;
    old("unknown", &|d| {
        format!(r#"{{"mediaType":"a/b","blobs":["{d}"]}}"#)
    })
    .await;
    let emptied = old("link emptied by a crash", &|d| {
        format!(r#"{{"schemaVersion":2,"config":{{"digest":"{d}"}}}}"#)
    })
    .await;
    let revision = |digest| ObjectPath::RevisionLink {
        repository: app.clone(),
        digest,
    };
    std::fs::write(path(folder.path(), &revision(emptied)), "").unwrap();
    // A manifest whose payload is gone, and files that no registry reads.
    let missing = Digest::sha256(b"missing");
    registry.link_manifest(&app, missing, missing).await.unwrap();
    let stray = path(folder.path(), &revision(missing)).with_file_name("link.1f0c6a4e.tmp");
    std::fs::write(&stray, "x").unwrap();
    std::fs::create_dir_all(
        path(folder.path(), &revision(Digest::sha256(b"no link")))
            .parent()
            .unwrap(),
    )
    .unwrap();
    let collected = collect(&registry, &at_once(Untagged::Keep)).await;
    assert_eq!(
        (collected.blobs_removed, collected.missing, collected.manifests),
        (0, 1, 5),
        "{collected:?}"
    );
    for digest in kept {
        assert!(
            path(folder.path(), &ObjectPath::BlobData { digest }).exists(),
            "{digest}"
        );
    }
}

#[tokio::test]
async fn a_tag_whose_link_was_emptied_by_a_crash_keeps_all_it_ever_meant() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    let images = [
        push_image(&registry, &app, "v1", "one").await,
        push_image(&registry, &app, "v1", "two").await,
    ];
    let current = path(
        folder.path(),
        &ObjectPath::TagCurrent {
            repository: app.clone(),
            tag: registry_oci::Tag::parse("v1").unwrap(),
        },
    );
    let whole = std::fs::read(&current).unwrap();
    std::fs::write(&current, "").unwrap();
    let collected = collect(&registry, &at_once(Untagged::Delete)).await;
    assert_eq!(collected.manifests_removed, 0, "{collected:?}");
    std::fs::write(&current, whole).unwrap();
    let collected = collect(&registry, &at_once(Untagged::Delete)).await;
    assert_eq!(collected.manifests_removed, 1, "{collected:?}");
    assert!(
        registry
            .manifest_link_target(&app, &images[1])
            .await
            .unwrap()
            .is_some()
    );
    // Its history is removed with it.
    let history = keys(registry.driver()).await;
    let past = |digest: &Digest| {
        history
            .iter()
            .any(|key| key.contains("/index/") && key.contains(&digest.hex()))
    };
    assert_eq!(images.each_ref().map(past), [false, true]);
}

#[tokio::test]
async fn a_repository_of_which_nothing_is_left_leaves_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    for repository in ["deep/app", "deep/app/sub", "other"] {
        push_image(&registry, &name(repository), "v1", repository).await;
    }
    for repository in ["deep/app", "other"] {
        let repository = name(repository);
        let tag = registry_oci::Tag::parse("v1").unwrap();
        let digest = registry.tag_target(&repository, &tag).await.unwrap().unwrap();
        registry.delete_manifest(&repository, &digest).await.unwrap();
    }
    let listed = async || {
        let page = registry.catalog(None, 10).await.unwrap();
        let names = page.repositories.iter().map(ToString::to_string);
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed().await, ["deep/app", "deep/app/sub", "other"]);
    let dry = CollectionOptions {
        removal: Removal::DryRun,
        ..at_once(Untagged::Keep)
    };
    collect(&registry, &dry).await;
    assert_eq!(listed().await.len(), 3);
    collect(&registry, &at_once(Untagged::Keep)).await;
    assert_eq!(listed().await, ["deep/app/sub"]);
    let home = folder.path().join("docker/registry/v2/repositories");
    assert!(!home.join("other/_manifests").exists() && !home.join("deep/app/_manifests").exists());
    // It returns with the next push.
    push_image(&registry, &name("other"), "v1", "again").await;
    assert_eq!(listed().await, ["deep/app/sub", "other"]);
}

#[tokio::test]
async fn tags_that_mean_nothing_go_with_what_has_no_tag_and_stay_without() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    let kept = push_image(&registry, &app, "v1", "one").await;
    let (past, dead) = (
        push_image(&registry, &app, "past", "two").await,
        push_image(&registry, &app, "dead", "three").await,
    );
    let tag = |text: &str| registry_oci::Tag::parse(text).unwrap();
    let home = folder
        .path()
        .join("docker/registry/v2/repositories/app/_manifests");
    std::fs::remove_dir_all(home.join("tags/past/current")).unwrap();
    std::fs::remove_dir_all(home.join("revisions/sha256").join(dead.hex())).unwrap();
    std::fs::create_dir_all(home.join("tags/empty/current")).unwrap();
    let tags = async || registry.tags(&app, None, None).await.unwrap().items;
    collect(&registry, &at_once(Untagged::Keep)).await;
    assert_eq!(tags().await.len(), 4);
    // Young ones stay.
    let young = CollectionOptions {
        min_age: HOUR,
        ..at_once(Untagged::Delete)
    };
    collect(&registry, &young).await;
    assert_eq!(tags().await, ["dead", "past", "v1"].map(tag));
    let collected = collect(&registry, &at_once(Untagged::Delete)).await;
    assert_eq!(collected.manifests_removed, 1, "{collected:?}");
    assert_eq!(tags().await, [tag("v1")]);
    let is_there = async |digest| {
        registry
            .manifest_link_target(&app, &digest)
            .await
            .unwrap()
            .is_some()
    };
    assert_eq!((is_there(kept).await, is_there(past).await), (true, false));
}

#[tokio::test]
async fn blobs_that_an_index_lists_and_what_either_reading_of_a_document_names_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    let (config, layer) = (
        blob_of(&registry, &app, "config").await,
        blob_of(&registry, &app, "layer").await,
    );
    let cache = format!(r#"{{"schemaVersion":2,"manifests":[{layer},{config}]}}"#);
    push(&registry, &app, "cache", &MediaType::OCI_INDEX, cache).await;
    // A document that can be read in two ways, as another server accepted it.
    let other = blob_of(&registry, &app, "another layer").await;
    let document = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[],"layer\u017f":[{}]}}"#,
        other.replace("digest", "Digest")
    );
    let digest = Digest::sha256(document.as_bytes());
    let key = ObjectPath::BlobData { digest }.key();
    let put = registry
        .driver()
        .put(&key, document.into(), Mode::Replace, Durability::Crash);
    put.await.unwrap();
    registry.link_manifest(&app, digest, digest).await.unwrap();
    let collected = collect(&registry, &at_once(Untagged::Keep)).await;
    assert_eq!(
        (collected.blobs_removed, collected.blobs_kept),
        (0, 5),
        "{collected:?}"
    );
    let (reference, any) = (Reference::Digest(digest), crate::registry::Accepts::Anything);
    let served = registry.get_manifest(&app, &reference, &any);
    assert_eq!(served.await.unwrap().media_type, MediaType::OCI_MANIFEST);
}

#[tokio::test]
async fn a_folder_that_no_registry_serves_but_holds_a_repository_ends_the_collection() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    push_image(&registry, &name("app"), "v1", "layer").await;
    let repositories = folder.path().join("docker/registry/v2/repositories");
    std::fs::rename(repositories.join("app"), repositories.join("App.before")).unwrap();
    let error = registry
        .collect_garbage(&at_once(Untagged::Keep), &mut |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(&error, GarbageError::RepositoryNameInvalid { name } if name == "App.before"),
        "{error:?}"
    );
}

#[tokio::test]
async fn nothing_is_removed_while_a_server_has_a_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    blob_of(&registry, &app, "garbage").await;
    let server = LiveServer::this_process();
    registry.announce(&server).await.unwrap();
    let before = keys(registry.driver()).await;
    let error = registry
        .collect_garbage(&at_once(Untagged::Keep), &mut |_| {})
        .await
        .unwrap_err();
    let said = error.to_string();
    let expected = format!("process {} on {} (last seen ", std::process::id(), server.host);
    assert!(
        said.starts_with(&expected) && said.ends_with(" s ago) writes to this store"),
        "{said}"
    );
    assert_eq!(
        keys(registry.driver()).await,
        before,
        "the question leaves nothing behind"
    );
    // A dry run is allowed.
    let dry = CollectionOptions {
        removal: Removal::DryRun,
        ..at_once(Untagged::Keep)
    };
    assert_eq!(collect(&registry, &dry).await.blobs_removed, 1);
    registry.withdraw(&server).await.unwrap();
    registry.withdraw(&server).await.unwrap();
    // A server that was killed writes no heartbeat any more, and its last one is removed.
    registry.announce(&LiveServer::this_process()).await.unwrap();
    age(
        &folder.path().join("docker/registry/berth/v1/writers"),
        Duration::from_secs(91),
    );
    assert_eq!(
        collect(&registry, &at_once(Untagged::Keep)).await.blobs_removed,
        1
    );
    assert_eq!(keys(registry.driver()).await, [] as [String; 0]);
    registry.announce(&LiveServer::this_process()).await.unwrap();
    blob_of(&registry, &app, "garbage").await;
    let forced = CollectionOptions {
        live_server_policy: LiveServerPolicy::Ignore,
        ..at_once(Untagged::Keep)
    };
    assert_eq!(collect(&registry, &forced).await.blobs_removed, 1);
}

#[tokio::test]
async fn our_index_forgets_what_another_server_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, app) = (in_folder(folder.path()), name("app"));
    let subject = push_image(&registry, &app, "v1", "layer").await;
    let config = blob_of(&registry, &app, "{}").await;
    let referrer = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[],"subject":{{"mediaType":"{}","digest":"{subject}","size":1}}}}"#,
        MediaType::OCI_MANIFEST
    );
    let referrer = push(&registry, &app, "", &MediaType::OCI_MANIFEST, referrer).await;
    // When untagged manifests are removed, a referrer of a kept manifest stays.
    assert_eq!(
        collect(&registry, &at_once(Untagged::Delete))
            .await
            .manifests_removed,
        0
    );
    let referrers = async || referrers_of(&registry, &app, &subject).await;
    assert_eq!(referrers().await.len(), 1);
    // As `garbage-collect -m` of distribution does, which knows no subjects.
    let revision = ObjectPath::RevisionLink {
        repository: app.clone(),
        digest: referrer,
    };
    std::fs::remove_dir_all(path(folder.path(), &revision).parent().unwrap()).unwrap();
    assert_eq!(referrers().await, []);
    collect(&registry, &at_once(Untagged::Keep)).await;
    let left = keys(registry.driver()).await;
    assert!(!left.iter().any(|key| key.contains(&referrer.hex())), "{left:#?}");
    // The other way: the index gets a manifest that another server pushed.
    std::fs::remove_dir_all(folder.path().join("docker/registry/berth")).unwrap();
    let text = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[],"subject":{{"mediaType":"a/b","digest":"{subject}","size":1}}}}"#
    );
    push(&registry, &app, "", &MediaType::OCI_MANIFEST, text).await;
    std::fs::remove_dir_all(folder.path().join("docker/registry/berth")).unwrap();
    assert_eq!(referrers().await.len(), 1);
}

#[tokio::test]
async fn asking_for_the_time_leaves_no_folder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    blob_of(&registry, &name("app"), "young").await;
    collect(&registry, &CollectionOptions::default()).await;
    // Otherwise a collection that runs as root would keep the server from writing its own index.
    assert!(!folder.path().join("docker/registry/berth").exists());
}
