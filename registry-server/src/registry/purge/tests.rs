//! Which sessions a purge removes and which stay, on folders: only there can a test set the time of a write.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream;
use registry_oci::Digest;
use tempfile::TempDir;

use super::*;
use crate::registry::tests::in_folder;
use crate::registry::{Chunk, Offset};

const AGE: Duration = Duration::from_secs(168 * 3600);
const OLD: Duration = Duration::from_secs(169 * 3600);
const YOUNG: Duration = Duration::from_secs(167 * 3600);
const UUID: &str = "0b1f9a2e-7c51-4c0e-9a3d-5f0e6d7c8b9a";

struct Store {
    folder: TempDir,
    registry: Registry,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = in_folder(folder.path());
        Self { folder, registry }
    }

    fn upload(&self, repository: &str, id: &str) -> PathBuf {
        let repositories = self.folder.path().join("docker/registry/v2/repositories");
        repositories.join(repository).join("_uploads").join(id)
    }

    /// Writes a file of an upload with a time in the past.
    fn write(&self, upload: &Path, name: &str, content: &str, ago: Duration) {
        let path = upload.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        age(&path, ago);
    }

    async fn purge(&self, purge: PurgeMode) -> (u64, u64, u64) {
        let purged = self.registry.purge_uploads(AGE, purge).await.unwrap();
        assert_eq!(purged.failed, 0, "{purged:?}");
        (purged.uploads, purged.bytes, purged.open)
    }
}

fn age(path: &Path, ago: Duration) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - ago).unwrap();
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

#[tokio::test]
async fn age_counts_from_the_last_write_of_the_data_and_not_from_startedat() {
    let store = Store::new();
    let slow = store.upload("team/app", UUID);
    store.write(&slow, "data", "still coming", YOUNG);
    store.write(&slow, "startedat", "2020-01-02T03:04:05Z", OLD * 50);
    store.write(&slow, "hashstates/sha256/12", "state", OLD);
    let abandoned = store.upload("team/app", "1b1f9a2e-7c51-4c0e-9a3d-5f0e6d7c8b9a");
    store.write(&abandoned, "data", "never finished", OLD);
    // A backup wrote it yesterday, or a clock was wrong: its time does not count.
    store.write(&abandoned, "startedat", "2099-01-02T03:04:05Z", YOUNG);
    store.write(&abandoned, "hashstates/sha256/14", "state", YOUNG);
    assert_eq!(store.purge(PurgeMode::Remove).await, (1, 14, 0));
    assert!(slow.join("data").exists() && slow.join("hashstates/sha256/12").exists());
    assert!(!abandoned.exists());
    assert_eq!(store.purge(PurgeMode::Remove).await, (0, 0, 0));
}

#[tokio::test]
async fn uploads_without_startedat_and_ids_that_are_no_uuids_go_too() {
    let store = Store::new();
    let uploads = [
        store.upload("app", UUID),
        store.upload("app", "not-a-uuid_=."),
        // Below a repository, and in a repository that never had a manifest.
        store.upload("app/below/it", "7"),
    ];
    for upload in &uploads {
        store.write(upload, "data", "12345", OLD);
    }
    assert_eq!(store.purge(PurgeMode::Remove).await, (3, 15, 0));
    assert_eq!(uploads.map(|upload| upload.exists()), [false; 3]);
}

#[tokio::test]
async fn what_is_left_of_an_upload_without_data_goes_by_its_newest_file() {
    let store = Store::new();
    let old = store.upload("app", "old");
    store.write(&old, "startedat", "2020-01-02T03:04:05Z", OLD);
    store.write(&old, "hashstates/sha256/5", "state", OLD);
    let recent = store.upload("app", "recent");
    store.write(&recent, "startedat", "2020-01-02T03:04:05Z", OLD);
    store.write(&recent, "hashstates/sha256/5", "state", YOUNG);
    let empty = store.upload("app", "empty");
    std::fs::create_dir_all(&empty).unwrap();
    assert_eq!(store.purge(PurgeMode::Remove).await, (1, 0, 0));
    assert_eq!(
        [&old, &recent, &empty].map(|upload| upload.exists()),
        [false, true, true]
    );
}

#[tokio::test]
async fn nothing_but_uploads_is_touched() {
    let store = Store::new();
    let content = Bytes::from("a blob");
    let (repository, digest) = (name("app"), Digest::sha256(&content));
    let id = store.registry.start_upload(&repository).await.unwrap().id;
    let chunk = Chunk {
        offset: Offset::At(0),
        length: None,
        counted: false,
    };
    let body = stream::iter([Ok(content.clone())]);
    store
        .registry
        .finish_upload(&repository, &id, chunk, &digest, body)
        .await
        .unwrap();
    let blob = ObjectPath::BlobData { digest }.key();
    age(&store.folder.path().join(blob.as_str()), OLD);
    // A file in the folder of sessions, and a folder that no registry creates.
    let file = store.upload("app", "a-file");
    std::fs::write(&file, "").unwrap();
    age(&file, OLD);
    let foreign = store.upload("app", "@eaDir");
    store.write(&foreign, "data", "thumbnails", OLD);
    assert_eq!(store.purge(PurgeMode::Remove).await, (0, 0, 0));
    assert!(file.exists() && foreign.exists());
    let held = store.registry.head_blob(&repository, &digest).await.unwrap();
    assert_eq!(held.size, 6);
}

#[tokio::test]
async fn a_dry_run_counts_and_removes_nothing() {
    let store = Store::new();
    let upload = store.upload("app", UUID);
    store.write(&upload, "data", "12345", OLD);
    let remains = store.upload("app", "remains");
    store.write(&remains, "startedat", "", OLD);
    assert_eq!(store.purge(PurgeMode::DryRun).await, (2, 5, 0));
    assert!(upload.join("data").exists() && remains.join("startedat").exists());
    assert_eq!(store.purge(PurgeMode::Remove).await, (2, 5, 0));
    assert!(!upload.exists() && !remains.exists());
}

#[tokio::test]
async fn an_upload_that_a_request_has_open_is_never_removed() {
    let store = Store::new();
    let repository = name("app");
    let id = store.registry.start_upload(&repository).await.unwrap().id;
    let data = ObjectPath::UploadData {
        repository: repository.clone(),
        id: id.clone(),
    }
    .key();
    // Another replica on the same folder has it open.
    let replica = in_folder(store.folder.path());
    let mut writer = replica
        .driver()
        .large_write()
        .append()
        .unwrap()
        .stage(&data, Staged::AtEnd)
        .await
        .unwrap();
    let path = store.folder.path().join(data.as_str());
    age(&path, OLD);
    assert_eq!(store.purge(PurgeMode::Remove).await, (0, 0, 1));
    writer.write(Bytes::from("it goes on")).await.unwrap();
    drop(writer);
    assert_eq!(
        store.purge(PurgeMode::Remove).await,
        (0, 0, 0),
        "it was written just now"
    );
    age(&path, OLD);
    assert_eq!(store.purge(PurgeMode::Remove).await, (1, 10, 0));
    let gone = store
        .registry
        .upload_progress(&repository, &id)
        .await
        .unwrap_err();
    assert!(matches!(gone, Error::UploadUnknown { .. }), "{gone}");
}

/// The minimum age is zero, so every purge wants every upload: a chunk is either kept or its upload is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_and_purges_at_once_leave_whole_uploads_or_none() {
    let store = Store::new();
    let repository = name("app");
    let (mut kept, mut gone) = (0, 0);
    for _ in 0..200 {
        let id = store.registry.start_upload(&repository).await.unwrap().id;
        let chunk = Chunk {
            offset: Offset::End,
            length: None,
            counted: false,
        };
        let body = stream::iter([Ok(Bytes::from("12345"))]);
        let (appended, purged) = tokio::join!(
            store.registry.append_upload(&repository, &id, chunk, body),
            store.registry.purge_uploads(Duration::ZERO, PurgeMode::Remove),
        );
        let purged = purged.unwrap();
        assert_eq!(purged.failed, 0, "{purged:?}");
        let left = store.registry.upload_progress(&repository, &id).await;
        match (&appended, &left) {
            (Ok(progress), Ok(left)) => {
                assert_eq!((progress.size, left.size), (5, 5));
                kept += 1;
            }
            // It was written, and then purged.
            (Ok(progress), Err(Error::UploadUnknown { .. })) if progress.size == 5 => gone += 1,
            (Err(Error::UploadUnknown { .. }), Err(Error::UploadUnknown { .. })) => gone += 1,
            other => panic!("{other:?} after {purged:?}"),
        }
        store
            .registry
            .purge_uploads(Duration::ZERO, PurgeMode::Remove)
            .await
            .unwrap();
        assert!(!store.upload("app", id.as_str()).exists());
    }
    assert_eq!(kept + gone, 200);
}

#[tokio::test]
async fn one_upload_that_cannot_be_looked_at_does_not_keep_the_others() {
    let store = Store::new();
    let broken = store.upload("app", "broken");
    std::fs::create_dir_all(&broken).unwrap();
    // A symbolic link to itself can be neither read nor waited for.
    std::os::unix::fs::symlink("data", broken.join("data")).unwrap();
    let old = store.upload("zoo", UUID);
    store.write(&old, "data", "12345", OLD);
    let purged = store
        .registry
        .purge_uploads(AGE, PurgeMode::Remove)
        .await
        .unwrap();
    assert_eq!((purged.uploads, purged.failed), (1, 1), "{purged:?}");
    assert!(
        matches!(purged.first_failure, Some(Error::Storage { .. })),
        "{purged:?}"
    );
    assert!(!old.exists());
}

/// A session that is old enough for the purge, and is finished without more bytes when the purge comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_upload_is_finished_or_purged_but_never_half() {
    let store = Store::new();
    let repository = name("app");
    let (mut finished, mut purged_first) = (0, 0);
    for round in 0..100 {
        let content = Bytes::from(format!("content {round}"));
        let digest = Digest::sha256(&content);
        let id = store.registry.start_upload(&repository).await.unwrap().id;
        let chunk = Chunk {
            offset: Offset::End,
            length: None,
            counted: false,
        };
        let body = stream::iter([Ok(content)]);
        store
            .registry
            .append_upload(&repository, &id, chunk, body)
            .await
            .unwrap();
        age(&store.upload("app", id.as_str()).join("data"), OLD);
        let (finish, purged) = tokio::join!(
            store
                .registry
                .finish_upload(&repository, &id, chunk, &digest, stream::iter([])),
            store.registry.purge_uploads(AGE, PurgeMode::Remove),
        );
        let purged = purged.unwrap();
        assert_eq!(purged.failed, 0, "{purged:?}");
        match (finish, purged.uploads) {
            (Ok(held), 0) => {
                let found = store.registry.head_blob(&repository, &digest).await.unwrap();
                assert_eq!(found.size, held.size);
                finished += 1;
            }
            (Err(Error::UploadUnknown { .. }), 1) => purged_first += 1,
            other => panic!("round {round}: {other:?}"),
        }
        assert!(!store.upload("app", id.as_str()).exists());
    }
    assert_eq!(finished + purged_first, 100);
}

#[tokio::test]
async fn folders_that_a_purge_leaves_empty_go_up_to_the_repositories() {
    let store = Store::new();
    let repositories = store.folder.path().join("docker/registry/v2/repositories");
    let deep = "a/".repeat(120) + "a";
    for name in [&deep, &format!("{deep}b"), "team/app"] {
        store.write(&store.upload(name, UUID), "data", "abandoned", OLD);
    }
    // Folders that an earlier version left, or that others may have created.
    for empty in ["z/y/x/_uploads", "z/y/w", "lost+found", "team/app/_layers"] {
        std::fs::create_dir_all(repositories.join(empty)).unwrap();
    }
    store.write(&store.upload("team/young", UUID), "data", "going on", YOUNG);
    assert_eq!(store.purge(PurgeMode::DryRun).await, (3, 27, 0));
    assert!(repositories.join("z/y/w").exists());
    assert_eq!(store.purge(PurgeMode::Remove).await, (3, 27, 0));
    assert_eq!(store.purge(PurgeMode::Remove).await, (0, 0, 0));
    for gone in ["a", "z"] {
        assert!(!repositories.join(gone).exists(), "{gone}");
    }
    for kept in ["lost+found", "team/app/_layers", "team/young/_uploads"] {
        assert!(repositories.join(kept).exists(), "{kept}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_begin_beside_purges_find_their_folders() {
    let store = Store::new();
    let registry = store.registry.clone();
    let purging = tokio::spawn(async move {
        loop {
            let purged = registry.purge_uploads(AGE, PurgeMode::Remove).await.unwrap();
            assert_eq!(purged.failed, 0, "{purged:?}");
        }
    });
    let content = Bytes::from_static(b"content");
    let digest = Digest::sha256(&content);
    for number in 0..100 {
        let repository = name(&format!("some/deep/name/{}", number % 3));
        let begun = store.registry.start_upload(&repository).await.unwrap();
        let chunk = Chunk {
            offset: Offset::At(0),
            length: None,
            counted: false,
        };
        let body = stream::iter([Ok(content.clone())]);
        let finished = store
            .registry
            .finish_upload(&repository, &begun.id, chunk, &digest, body);
        finished.await.unwrap();
    }
    assert!(!purging.is_finished(), "no purge failed");
    purging.abort();
}
