//! Content for the tests of maintenance: pushes blobs and images as clients do, and reads what the store holds of them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use registry_oci::{Digest, MediaType, Reference, RepositoryName};

use crate::registry::{Chunk, Offset, Registry};
use crate::storage::layout::ObjectPath;
use crate::storage::{Driver, EntryKind, StorageKey};

pub(in crate::registry) fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

pub(in crate::registry) async fn push_blob(
    registry: &Registry,
    repository: &RepositoryName,
    digest: &Digest,
    content: &Bytes,
) {
    let begun = registry.start_upload(repository).await.unwrap();
    let chunk = Chunk {
        offset: Offset::At(0),
        length: None,
        counted: false,
    };
    let body = stream::iter([Ok(content.clone())]);
    registry
        .finish_upload(repository, &begun, chunk, digest, body)
        .await
        .unwrap();
}

/// Pushes a blob and returns its descriptor.
pub(in crate::registry) async fn blob_of(
    registry: &Registry,
    repository: &RepositoryName,
    content: &str,
) -> String {
    let content = Bytes::from(content.to_owned());
    let digest = Digest::sha256(&content);
    push_blob(registry, repository, &digest, &content).await;
    descriptor(&digest, content.len())
}

pub(in crate::registry) fn descriptor(digest: &Digest, size: usize) -> String {
    format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size}}}"#)
}

/// Pushes an image with one layer.
pub(in crate::registry) async fn push_image(
    registry: &Registry,
    repository: &RepositoryName,
    reference: &str,
    layer: &str,
) -> Digest {
    let (config, layer) = (
        blob_of(registry, repository, "{}").await,
        blob_of(registry, repository, layer).await,
    );
    let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
    push(registry, repository, reference, &MediaType::OCI_MANIFEST, text).await
}

pub(in crate::registry) async fn push(
    registry: &Registry,
    repository: &RepositoryName,
    reference: &str,
    media_type: &MediaType,
    text: String,
) -> Digest {
    let digest = Digest::sha256(text.as_bytes());
    let reference = match reference {
        "" => Reference::Digest(digest),
        tag => Reference::parse(tag).unwrap(),
    };
    let pushed = registry.put_manifest(repository, &reference, media_type, text.into(), &[]);
    pushed.await.unwrap().digest
}

/// The key of every object of a store, sorted.
pub(in crate::registry) async fn keys(driver: &Arc<dyn Driver>) -> Vec<String> {
    let mut pending = vec![StorageKey::parse("docker").unwrap()];
    let mut keys = Vec::new();
    while let Some(prefix) = pending.pop() {
        let entries: Vec<_> = driver.list(&prefix).await.unwrap().try_collect().await.unwrap();
        for entry in entries {
            let key = prefix.child(&entry.name).unwrap();
            match entry.kind {
                EntryKind::Prefix => pending.push(key),
                EntryKind::Object => keys.push(key.to_string()),
            }
        }
    }
    keys.sort_unstable();
    keys
}

pub(in crate::registry) fn path(folder: &Path, place: &ObjectPath) -> std::path::PathBuf {
    folder.join(place.key().as_str())
}

/// The referrers of a subject, as a server lists them that has scanned nothing yet.
pub(in crate::registry) async fn referrers_of(
    registry: &Registry,
    repository: &RepositoryName,
    subject: &Digest,
) -> Vec<Digest> {
    registry.forget_scan(repository).await;
    let page = registry.referrers(repository, subject, None, None).await.unwrap();
    assert_eq!(page.next, None);
    digests_of(&page.descriptors)
}

/// The digests of descriptors in a row.
pub(in crate::registry) fn digests_of(descriptors: &Bytes) -> Vec<Digest> {
    let text = [b"[", &descriptors[..], b"]"].concat();
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let digest = |entry: &serde_json::Value| Digest::parse(entry["digest"].as_str().unwrap()).unwrap();
    entries.iter().map(digest).collect()
}
