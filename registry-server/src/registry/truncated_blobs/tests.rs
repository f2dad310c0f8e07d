//! Blobs that a crash emptied or cut short, and manifests that say a wrong size.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use registry_oci::{MediaType, Reference, RepositoryName};

use super::*;
use crate::registry::tests::content::{descriptor, keys, name, path, push_blob};
use crate::registry::tests::in_folder;
use crate::registry::{LiveServerPolicy, MissingReference, PushedManifest};
use crate::storage::{self, ReadRange};

const LAYER: Bytes = Bytes::from_static(b"a layer of some bytes");

fn layer() -> Digest {
    Digest::sha256(&LAYER)
}

fn app() -> RepositoryName {
    name("team/app")
}

async fn with_layer(folder: &Path) -> Registry {
    let registry = in_folder(folder);
    push_blob(&registry, &app(), &layer(), &LAYER).await;
    registry
}

/// Truncates a payload, with a time in the past.
fn cut(folder: &Path, digest: Digest, size: u64) {
    let file = File::options()
        .write(true)
        .open(path(folder, &ObjectPath::BlobData { digest }))
        .unwrap();
    file.set_len(size).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
}

/// Pushes an image that declares this size of its only blob.
async fn push_image(registry: &Registry, size: u64) -> Result<PushedManifest, Error> {
    let blob = descriptor(&layer(), size as usize);
    let text = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#);
    let tag = Reference::parse("v1").unwrap();
    registry
        .put_manifest(&app(), &tag, &MediaType::OCI_MANIFEST, text.into(), &[])
        .await
}

fn is_missing(pushed: &Result<PushedManifest, Error>) -> bool {
    matches!(pushed, Err(Error::ManifestReferences { missing, .. })
        if missing.iter().all(|missing| *missing == MissingReference::Blob(layer())))
}

async fn is_there(registry: &Registry) -> bool {
    registry.head_blob(&app(), &layer()).await.is_ok()
}

async fn pull(registry: &Registry) -> Result<Bytes, Error> {
    let blob = registry.get_blob(&app(), &layer(), ReadRange::Full).await?;
    let blocks: Vec<Bytes> = blob.content.try_collect().await.map_err(Error::storage("read"))?;
    Ok(blocks.concat().into())
}

#[tokio::test]
async fn an_empty_blob_is_never_said_to_be_there_and_the_next_push_heals_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_layer(folder.path()).await;
    push_image(&registry, LAYER.len() as u64).await.unwrap();
    cut(folder.path(), layer(), 0);
    assert!(!is_there(&registry).await);
    for from in [Some(app()), None] {
        let (other, layer) = (name("team/other"), layer());
        let mounted = registry.mount_blob(&other, &layer, from.as_ref()).await;
        assert_eq!(mounted.unwrap(), None, "from {from:?}");
    }
    for range in [ReadRange::Full, ReadRange::From(3)] {
        let got = registry.get_blob(&app(), &layer(), range).await;
        assert!(
            matches!(got, Err(Error::BlobUnknown { .. })),
            "{range:?}: {got:?}"
        );
    }
    for size in [LAYER.len() as u64, 0] {
        let pushed = push_image(&registry, size).await;
        assert!(is_missing(&pushed), "size {size}: {pushed:?}");
    }
    push_blob(&registry, &app(), &layer(), &LAYER).await;
    push_image(&registry, LAYER.len() as u64).await.unwrap();
    assert_eq!(pull(&registry).await.unwrap(), LAYER);
}

#[tokio::test]
async fn the_blob_of_no_bytes_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    let nothing = Digest::sha256(b"");
    push_blob(&registry, &app(), &nothing, &Bytes::new()).await;
    assert_eq!(registry.head_blob(&app(), &nothing).await.unwrap().size, 0);
    assert!(registry.get_blob(&app(), &nothing, ReadRange::Full).await.is_ok());
}

#[tokio::test]
async fn a_short_blob_goes_to_the_trash_when_a_manifest_names_it_and_the_next_push_heals_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_layer(folder.path()).await;
    for known in [false, true] {
        cut(folder.path(), layer(), 3);
        let pushed = push_image(&registry, LAYER.len() as u64).await;
        assert!(is_missing(&pushed), "size known: {known}: {pushed:?}");
        assert!(!is_there(&registry).await);
        push_blob(&registry, &app(), &layer(), &LAYER).await;
        push_image(&registry, LAYER.len() as u64).await.unwrap();
        assert_eq!(pull(&registry).await.unwrap(), LAYER);
        // A wrong size makes the registry hash it.
        assert!(push_image(&registry, 1).await.is_err());
    }
    let trashed: Vec<String> = keys(registry.driver()).await;
    let trashed = trashed
        .iter()
        .filter(|key| key.contains("/trash/") && key.ends_with("/data"));
    assert_eq!(trashed.count(), 2, "what was damaged is kept");
}

#[tokio::test]
async fn what_went_to_the_trash_can_be_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_layer(folder.path()).await;
    cut(folder.path(), layer(), 3);
    assert!(is_missing(&push_image(&registry, LAYER.len() as u64).await));
    let key = keys(registry.driver())
        .await
        .into_iter()
        .find(|key| key.contains("/journal/"))
        .unwrap();
    let Some(ObjectPath::TrashJournal { run, .. }) =
        ObjectPath::parse(&storage::StorageKey::parse(&key).unwrap())
    else {
        panic!("{key}");
    };
    let undone = registry
        .undo_repair(run, LiveServerPolicy::Ignore, &mut |_| {})
        .await
        .unwrap();
    assert_eq!(undone.back, 1);
    assert_eq!(pull(&registry).await.unwrap(), LAYER.slice(..3));
}

#[tokio::test]
async fn a_manifest_that_says_a_wrong_size_is_refused_and_its_blob_stays() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_layer(folder.path()).await;
    for said in [1_000_000_000_000_000, 1] {
        match push_image(&registry, said).await {
            Err(Error::ManifestSize {
                digest,
                said: told,
                actual,
            }) => {
                assert_eq!((digest, told, actual), (layer(), said, LAYER.len() as u64));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(pull(&registry).await.unwrap(), LAYER);
    }
    // The second time nothing is read: otherwise other bytes of the same number would be found.
    std::fs::write(
        path(folder.path(), &ObjectPath::BlobData { digest: layer() }),
        vec![b'x'; LAYER.len()],
    )
    .unwrap();
    assert!(matches!(
        push_image(&registry, 2).await,
        Err(Error::ManifestSize { .. })
    ));
    assert!(is_there(&registry).await);
}

#[tokio::test]
async fn an_index_that_says_a_wrong_size_of_its_child_is_refused_and_a_cut_child_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_layer(folder.path()).await;
    let child = push_image(&registry, LAYER.len() as u64).await.unwrap().digest;
    let payload = path(folder.path(), &ObjectPath::BlobData { digest: child });
    let whole = std::fs::metadata(&payload).unwrap().len();
    let push_index = async |size: u64| {
        let child = descriptor(&child, size as usize);
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#);
        let tag = Reference::parse("all").unwrap();
        registry
            .put_manifest(&app(), &tag, &MediaType::OCI_INDEX, text.into(), &[])
            .await
    };
    let lied = push_index(whole + 1).await;
    assert!(matches!(lied, Err(Error::ManifestSize { .. })), "{lied:?}");
    push_index(whole).await.unwrap();
    for size in [10, 0] {
        cut(folder.path(), child, size);
        let pushed = push_index(whole).await;
        assert!(
            matches!(&pushed, Err(Error::ManifestReferences { missing, .. }) if *missing == [MissingReference::Manifest(child)]),
            "{size} bytes left: {pushed:?}"
        );
        push_image(&registry, LAYER.len() as u64).await.unwrap();
        push_index(whole).await.unwrap();
    }
}

#[tokio::test]
async fn a_blob_that_is_cut_off_while_it_is_read_ends_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    let content = Bytes::from(vec![7; 2 << 20]);
    let digest = Digest::sha256(&content);
    push_blob(&registry, &app(), &digest, &content).await;
    let mut blob = registry
        .get_blob(&app(), &digest, ReadRange::Full)
        .await
        .unwrap()
        .content;
    assert_eq!(blob.size, content.len() as u64);
    assert!(!blob.try_next().await.unwrap().unwrap().is_empty());
    cut(folder.path(), digest, 1 << 20);
    let end = loop {
        match blob.try_next().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Err(storage::Error::Truncated { .. })), "{end:?}");
}
