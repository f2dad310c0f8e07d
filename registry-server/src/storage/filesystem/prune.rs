//! Removes empty folders.
//!
//! Safe while others write: the system call that removes a folder fails when the folder is not empty, and a writer makes
//! removed folders again ([`super::files::retry_in_folder`]).

use std::fs;
use std::io;
use std::path::PathBuf;

use super::conditional;
use super::file_metadata::is_absence;
use super::folder::Folder;
use crate::storage::{Error, StorageKey};

/// Removes the folders at and below `prefix` if they hold no file, and then the empty folders above, up to `prune_root`. Gives
/// whether the prefix is gone.
pub(super) fn prune(store: &Folder, prefix: &StorageKey, prune_root: &StorageKey) -> Result<bool, Error> {
    let failed = |error| Error::io("prune", prefix, error);
    let root = store.path(prefix);
    let Some(folders) = folders_without_files(root.clone()).map_err(failed)? else {
        return Ok(false);
    };
    for folder in folders.iter().rev() {
        match fs::remove_dir(folder) {
            Ok(()) => {}
            Err(error) if is_absence(&error) => {}
            // Another call writes there.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
    }
    conditional::remove_empty(&root, &store.path(prune_root));
    Ok(true)
}

/// A folder and all folders below it, each before its own folders; `None` when there is a file or a link.
fn folders_without_files(root: PathBuf) -> io::Result<Option<Vec<PathBuf>>> {
    let mut folders = vec![root];
    let mut looked_at = 0;
    while let Some(folder) = folders.get(looked_at) {
        looked_at += 1;
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                return Ok(None);
            }
            folders.push(entry.path());
        }
    }
    Ok(Some(folders))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use crate::storage::{
        Driver as _, Durability, Filesystem, FilesystemOptions, Mode, Reclaim as _, StorageKey, Sync,
    };

    fn key(text: &str) -> StorageKey {
        StorageKey::parse(text).unwrap()
    }

    fn store(folder: &Path) -> Filesystem {
        let options = FilesystemOptions {
            sync: Sync::Never,
            ..FilesystemOptions::default()
        };
        Filesystem::new(folder, &options).unwrap()
    }

    #[tokio::test]
    async fn folders_without_a_file_go_with_the_empty_ones_above_up_to_the_prune_root() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        std::fs::create_dir_all(folder.path().join("top/a/b/c/d")).unwrap();
        std::fs::create_dir_all(folder.path().join("top/a/b/e")).unwrap();
        assert!(store.prune(&key("top/a/b"), &key("top")).await.unwrap());
        assert!(!folder.path().join("top/a").exists() && folder.path().join("top").exists());
        assert!(
            store.prune(&key("top/a/b"), &key("top")).await.unwrap(),
            "nothing is there"
        );
    }

    #[tokio::test]
    async fn one_file_keeps_everything_below_the_prefix_and_a_sibling_keeps_what_is_above() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        std::fs::create_dir_all(folder.path().join("top/a/b/empty")).unwrap();
        let (file, bytes) = (key("top/a/b/c/file"), Bytes::from_static(b"x"));
        let put = store.put(&file, bytes, Mode::Replace, Durability::Crash);
        put.await.unwrap();
        assert!(!store.prune(&key("top/a/b"), &key("top")).await.unwrap());
        assert!(folder.path().join("top/a/b/empty").exists());
        assert!(store.prune(&key("top/a/b/empty"), &key("top")).await.unwrap());
        assert!(
            !folder.path().join("top/a/b/empty").exists() && folder.path().join("top/a/b/c/file").exists()
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_loses_nothing_to_a_pruning_that_never_stops() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let pruning = store.clone();
        let pruned = tokio::spawn(async move {
            loop {
                pruning.prune(&key("top/a/b/c"), &key("top")).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        for number in 0..300u32 {
            let object = key(&format!("top/a/b/c/{number}/file"));
            let bytes = Bytes::copy_from_slice(&number.to_le_bytes());
            store
                .put(&object, bytes.clone(), Mode::Replace, Durability::Crash)
                .await
                .unwrap();
            assert_eq!(store.get(&object, 10).await.unwrap(), bytes);
            store.delete(&object).await.unwrap();
        }
        pruned.abort();
    }
}
