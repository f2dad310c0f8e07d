//! Uploads, and answers that content exists, on a disk that fails.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream;
use registry_oci::{Digest, MediaType, Reference};

use super::content::{descriptor, path, push_blob, push_image};
use super::{TO_THE_END, name};
use crate::registry::{Accepts, BlobDescriptor, CopyReport, Error, LiveServerPolicy, Registry, Settings};
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::{Filesystem, FilesystemOptions, InMemory, SystemCalls};

/// A disk on which a number of writes fail: of bytes, and of names.
#[derive(Debug, Default)]
struct Disk {
    bytes: AtomicUsize,
    names: AtomicUsize,
}

fn answer(fails: &AtomicUsize) -> io::Result<()> {
    match fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(rustix::io::Errno::IO.into()),
        Err(_) => Ok(()),
    }
}

impl SystemCalls for Disk {
    fn sync_file(&self, _: &File) -> io::Result<()> {
        answer(&self.bytes)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        answer(&self.names)
    }
}

fn on(disk: &Arc<Disk>, folder: &Path) -> Registry {
    let options = FilesystemOptions::default();
    let driver = Filesystem::with_calls(folder, &options, Arc::clone(disk) as _).unwrap();
    Registry::new(Arc::new(driver), Settings::default())
}

async fn finish(
    registry: &Registry,
    id: &registry_oci::UploadId,
    content: &Bytes,
) -> Result<BlobDescriptor, Error> {
    let body = stream::iter([Ok(content.clone())]);
    let digest = Digest::sha256(content);
    registry
        .finish_upload(&name(), id, TO_THE_END, &digest, body)
        .await
}

#[tokio::test]
async fn an_upload_whose_bytes_the_disk_lost_is_over_with_all_that_was_kept_of_it() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let (registry, replica) = (on(&disk, folder.path()), on(&disk, folder.path()));
    // Large enough that the state of its hash is saved.
    let content = Bytes::from(vec![7; 2 << 20]);
    for in_a_chunk in [true, false] {
        let id = registry.start_upload(&name()).await.unwrap().id;
        disk.bytes.store(1, Ordering::Relaxed);
        match in_a_chunk {
            true => {
                let body = stream::iter([Ok(content.clone())]);
                registry
                    .append_upload(&name(), &id, TO_THE_END, body)
                    .await
                    .unwrap_err();
            }
            false => drop(finish(&registry, &id, &content).await.unwrap_err()),
        }
        for registry in [&registry, &replica] {
            let again = finish(registry, &id, &Bytes::new()).await.unwrap_err();
            assert!(matches!(again, Error::UploadUnknown { .. }), "{again:?}");
            let progress = registry.upload_progress(&name(), &id).await.unwrap_err();
            assert!(matches!(progress, Error::UploadUnknown { .. }), "{progress:?}");
        }
        let left = folder
            .path()
            .join(PathPrefix::Upload(&name(), &id).key().as_str());
        assert!(!left.exists(), "{}", left.display());
        let digest = Digest::sha256(&content);
        let absent = registry.head_blob(&name(), &digest).await.unwrap_err();
        assert!(matches!(absent, Error::BlobUnknown { .. }), "{absent:?}");
    }
    push_blob(&registry, &name(), &Digest::sha256(&content), &content).await;
}

#[tokio::test]
async fn a_blob_whose_name_the_disk_may_lose_is_there_only_once_it_was_synced() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let registry = on(&disk, folder.path());
    let content = Bytes::from_static(b"layer");
    let digest = Digest::sha256(&content);
    push_blob(&registry, &name(), &digest, &content).await;
    // A server that was restarted does not know which writes of the earlier process are durable.
    let registry = on(&disk, folder.path());
    let another = registry_oci::RepositoryName::parse("team/other").unwrap();
    disk.names.store(3, Ordering::Relaxed);
    registry.head_blob(&name(), &digest).await.unwrap_err();
    let mounted = registry.mount_blob(&another, &digest, Some(&name())).await;
    mounted.unwrap_err();
    let link = ObjectPath::LayerLink {
        repository: another.clone(),
        digest,
    };
    assert!(!path(folder.path(), &link).exists());
    let part = descriptor(&digest, content.len());
    let text = format!(r#"{{"schemaVersion":2,"config":{part},"layers":[{part}]}}"#);
    let reference = Reference::parse("v1").unwrap();
    let put = async || {
        let bytes = Bytes::from(text.clone());
        registry
            .put_manifest(&name(), &reference, &MediaType::OCI_MANIFEST, bytes, &[])
            .await
    };
    put().await.unwrap_err();
    // The disk works again.
    registry.head_blob(&name(), &digest).await.unwrap();
    put().await.unwrap();
    let mounted = registry.mount_blob(&another, &digest, Some(&name())).await;
    assert!(mounted.unwrap().is_some());
}

#[tokio::test]
async fn a_manifest_whose_name_the_disk_may_lose_is_there_for_a_pusher_only_once_it_was_synced() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    push_image(&on(&disk, folder.path()), &name(), "v1", "layer").await;
    let registry = on(&disk, folder.path());
    let tag = Reference::parse("v1").unwrap();
    disk.names.store(1, Ordering::Relaxed);
    // A pull does not need the name to be durable.
    let pulled = registry.get_manifest(&name(), &tag, &Accepts::Anything).await;
    pulled.unwrap();
    let asked = registry.head_manifest(&name(), &tag, &Accepts::Anything).await;
    asked.unwrap_err();
    let asked = registry.head_manifest(&name(), &tag, &Accepts::Anything).await;
    asked.unwrap();
}

#[tokio::test]
async fn a_copy_ends_where_the_disk_loses_bytes_or_names_and_the_next_one_brings_them() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let source = Registry::new(Arc::new(InMemory::new()), Settings::default());
    // The first is put in one step, the second is appended to a file.
    for size in [5, 5 << 20] {
        let content = Bytes::from(vec![7; size]);
        push_blob(&source, &name(), &Digest::sha256(&content), &content).await;
    }
    let copy = async |target: &Registry| {
        let mut copied = CopyReport::default();
        source
            .copy_to(target, LiveServerPolicy::Refuse, &mut copied, &mut |_| {})
            .await
            .map(|()| copied)
    };
    let target = on(&disk, folder.path());
    for _ in 0..2 {
        disk.bytes.store(1, Ordering::Relaxed);
        copy(&target).await.unwrap_err();
    }
    copy(&target).await.unwrap();
    // A copy that is run again does not know which writes of the earlier one are durable.
    let target = on(&disk, folder.path());
    disk.names.store(1, Ordering::Relaxed);
    copy(&target).await.unwrap_err();
    let copied = copy(&target).await.unwrap();
    assert_eq!((copied.blobs, copied.blobs_there, copied.links_there), (0, 2, 2));
}
