//! File systems that fail once, and those that lack what others have.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use rustix::io::Errno;
use tempfile::TempDir;

use super::system_calls::SystemCalls;
use super::*;
use crate::storage::{Append, Condition, Entry, Staged};

/// SystemCalls that fail some times, by name.
#[derive(Debug, Default)]
struct Failing {
    fails: Mutex<HashMap<&'static str, (Errno, usize)>>,
    /// How often each call was made.
    made: Mutex<HashMap<&'static str, usize>>,
}

const ALWAYS: usize = usize::MAX;

impl Failing {
    fn fail(&self, call: &'static str, error: Errno, times: usize) {
        self.fails.lock().unwrap().insert(call, (error, times));
    }

    fn made(&self, call: &'static str) -> usize {
        self.made.lock().unwrap().get(call).copied().unwrap_or(0)
    }

    fn answer(&self, call: &'static str) -> io::Result<()> {
        *self.made.lock().unwrap().entry(call).or_default() += 1;
        match self.fails.lock().unwrap().get_mut(call) {
            Some((error, times)) if *times > 0 => {
                *times -= 1;
                Err((*error).into())
            }
            _ => Ok(()),
        }
    }
}

impl SystemCalls for Failing {
    fn sync_file(&self, _: &File) -> io::Result<()> {
        self.answer("sync_file")
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.answer("sync_folder")
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.answer("link")?;
        fs::hard_link(from, to)
    }

    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.answer("rename_to_free")?;
        system_calls::System.rename_to_free(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.answer("rename")?;
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.answer("remove")?;
        fs::remove_file(path)
    }

    fn lock(&self, file: &File) -> Result<(), TryLockError> {
        self.answer("lock").map_err(TryLockError::Error)?;
        file.try_lock()
    }
}

fn store() -> (TempDir, Arc<Failing>, Filesystem) {
    let (folder, calls) = (tempfile::tempdir().unwrap(), Arc::new(Failing::default()));
    let store = opened(folder.path(), &calls);
    (folder, calls, store)
}

fn opened(folder: &Path, calls: &Arc<Failing>) -> Filesystem {
    Filesystem::with_calls(folder, &FilesystemOptions::default(), Arc::clone(calls) as _).unwrap()
}

fn key(text: &str) -> StorageKey {
    StorageKey::parse(text).unwrap()
}

async fn put(store: &Filesystem, name: &str, mode: Mode) -> Result<(), Error> {
    let bytes = Bytes::from_static(b"12345");
    store.put(&key(name), bytes, mode, Durability::PowerLoss).await
}

async fn staged(store: &Filesystem, name: &str) -> Box<dyn Writer> {
    let mut writer = store.stage(&key(name), Staged::New).await.unwrap();
    writer.write(Bytes::from_static(b"12345")).await.unwrap();
    writer
}

async fn list(store: &Filesystem, name: &str) -> Vec<String> {
    let listing = store.list(&key(name)).await.unwrap();
    let entries: Vec<Entry> = listing.try_collect().await.unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

/// Removes an object however old it is.
async fn collect(store: &Filesystem, name: &str, prune_root: &str) -> Option<u64> {
    let (key, prune_root) = (key(name), key(prune_root));
    let old = Condition::Older(SystemTime::now() + Duration::from_secs(3600));
    let removed = store
        .delete_if(&key, &old, &prune_root, Durability::PowerLoss)
        .await;
    removed.unwrap().map(|found| found.size)
}

/// Leaves a file as a killed removal does.
fn set_aside(folder: &Path, name: &str) {
    let path = folder.join(name);
    fs::rename(&path, pending_removal::name(&path)).unwrap();
}

#[tokio::test]
async fn an_upload_whose_sync_failed_once_is_never_finished_by_anybody() {
    let (folder, calls, store) = store();
    drop(staged(&store, "up/data").await);
    calls.fail("sync_file", Errno::IO, 1);
    let failed = store.publish(&key("up/data"), &key("blob"), 5).await.unwrap_err();
    assert!(matches!(failed, Error::Lost { .. }), "{failed:?}");
    let another = opened(folder.path(), &calls);
    for store in [&store, &another] {
        let again = store.publish(&key("up/data"), &key("blob"), 5).await.unwrap_err();
        assert!(again.is_not_found(), "{again:?}");
        let more = store.stage(&key("up/data"), Staged::AtEnd).await.err().unwrap();
        assert!(more.is_not_found(), "{more:?}");
    }
    assert!(store.stat(&key("blob")).await.unwrap_err().is_not_found());
    // The client begins again.
    drop(staged(&store, "up/data").await);
    store.publish(&key("up/data"), &key("blob"), 5).await.unwrap();
}

#[tokio::test]
async fn an_upload_whose_sync_failed_between_two_chunks_is_never_finished() {
    let (_folder, calls, store) = store();
    let mut writer = staged(&store, "up/data").await;
    calls.fail("sync_file", Errno::IO, 1);
    let failed = writer.sync().await.unwrap_err();
    assert!(matches!(failed, Error::Lost { .. }), "{failed:?}");
    // A process that still has it open does no harm.
    writer.write(Bytes::from_static(b"more")).await.unwrap();
    drop(writer);
    let again = store.publish(&key("up/data"), &key("blob"), 5).await.unwrap_err();
    assert!(again.is_not_found(), "{again:?}");
}

#[tokio::test]
async fn an_upload_whose_sync_failed_and_that_cannot_be_removed_is_refused_all_the_same() {
    let (_folder, calls, store) = store();
    drop(staged(&store, "up/data").await);
    for call in ["sync_file", "remove", "rename"] {
        calls.fail(call, Errno::IO, 1);
    }
    store.publish(&key("up/data"), &key("blob"), 5).await.unwrap_err();
    assert!(store.stat(&key("up/data")).await.is_ok());
    let again = store.publish(&key("up/data"), &key("blob"), 5).await.unwrap_err();
    assert!(again.is_not_found(), "{again:?}");
    // That removed it.
    assert!(store.stat(&key("up/data")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_full_disk_that_is_told_of_by_a_sync_is_a_full_disk() {
    let (_folder, calls, store) = store();
    for error in [Errno::NOSPC, Errno::DQUOT] {
        drop(staged(&store, "up/data").await);
        calls.fail("sync_file", error, 1);
        let failed = store.publish(&key("up/data"), &key("blob"), 5).await.unwrap_err();
        assert_eq!(failed.refusal(), Some("storage full"), "{failed:?}");
    }
}

#[tokio::test]
async fn a_small_object_whose_sync_failed_is_written_anew_and_leaves_nothing() {
    let (_folder, calls, store) = store();
    put(&store, "a/link", Mode::Replace).await.unwrap();
    for mode in [Mode::Replace, Mode::Create] {
        calls.fail("sync_file", Errno::IO, 1);
        put(&store, "a/other", mode).await.unwrap_err();
        assert_eq!(list(&store, "a").await, ["link"]);
        assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), Swept::default());
    }
    let synced = calls.made("sync_file");
    put(&store, "a/other", Mode::Replace).await.unwrap();
    assert_eq!(calls.made("sync_file"), synced + 1);
}

#[tokio::test]
async fn an_object_whose_folders_were_not_synced_counts_only_once_they_are() {
    let (folder, calls, store) = store();
    calls.fail("sync_folder", Errno::IO, 2);
    put(&store, "a/b/link", Mode::Replace).await.unwrap_err();
    assert!(store.stat(&key("a/b/link")).await.is_ok(), "it has its name");
    store.persist(&[key("a/b/link")]).await.unwrap_err();
    store.persist(&[key("a/b/link"), key("a/none")]).await.unwrap();
    // From then on this process knows.
    let synced = calls.made("sync_folder");
    store.persist(&[key("a/b/link")]).await.unwrap();
    assert_eq!(calls.made("sync_folder"), synced);
    // Another one, or this one started again, does not.
    let another = opened(folder.path(), &calls);
    calls.fail("sync_folder", Errno::IO, 1);
    another.persist(&[key("a/b/link")]).await.unwrap_err();
    another.persist(&[key("a/b/link")]).await.unwrap();
    // An acknowledged object costs no sync.
    put(&store, "a/b/link", Mode::Replace).await.unwrap();
    drop(staged(&store, "up/data").await);
    store.publish(&key("up/data"), &key("a/blob"), 5).await.unwrap();
    let synced = calls.made("sync_folder");
    store.persist(&[key("a/b/link"), key("a/blob")]).await.unwrap();
    assert_eq!(calls.made("sync_folder"), synced);
    // Nor does what the system has written out long ago.
    let file = File::options()
        .write(true)
        .open(folder.path().join("a/blob"))
        .unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    opened(folder.path(), &calls)
        .persist(&[key("a/blob")])
        .await
        .unwrap();
    assert_eq!(calls.made("sync_folder"), synced);
}

#[tokio::test]
async fn what_a_killed_removal_had_set_aside_is_back_for_whoever_looks() {
    let (folder, _calls, store) = store();
    put(&store, "a/data", Mode::Replace).await.unwrap();
    let back = || folder.path().join("a/data").exists();

    set_aside(folder.path(), "a/data");
    assert_eq!(store.stat(&key("a/data")).await.unwrap().size, 5);
    set_aside(folder.path(), "a/data");
    assert_eq!(store.get(&key("a/data"), 10).await.unwrap(), "12345");
    set_aside(folder.path(), "a/data");
    assert_eq!(store.read(&key("a/data"), ReadRange::Full).await.unwrap().size, 5);
    set_aside(folder.path(), "a/data");
    store.touch(&key("a/data")).await.unwrap();
    set_aside(folder.path(), "a/data");
    assert_eq!(list(&store, "a").await, ["data"]);
    assert!(back());
    // A day later, to the sweep that removes what interrupted writes left.
    set_aside(folder.path(), "a/data");
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), Swept::default());
    assert!(back());
    // The next collection removes what it wants to remove.
    set_aside(folder.path(), "a/data");
    assert_eq!(collect(&store, "a/data", "a").await, Some(5));
    assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 0);
    put(&store, "a/data", Mode::Replace).await.unwrap();
    set_aside(folder.path(), "a/data");
    store.delete(&key("a/data")).await.unwrap();
    assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_set_aside_does_not_replace_what_was_written_since() {
    let (folder, _calls, store) = store();
    put(&store, "a/data", Mode::Replace).await.unwrap();
    set_aside(folder.path(), "a/data");
    fs::write(folder.path().join("a/data"), "younger").unwrap();
    assert_eq!(list(&store, "a").await, ["data"]);
    assert_eq!(store.get(&key("a/data"), 10).await.unwrap(), "younger");
    store.sweep(Duration::ZERO).await.unwrap();
    assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
}

#[tokio::test]
async fn what_was_set_aside_does_not_come_back_after_a_deletion() {
    let (folder, _calls, store) = store();
    put(&store, "a/data", Mode::Replace).await.unwrap();
    set_aside(folder.path(), "a/data");
    // Both names, as a loss of power between the link and the removal leaves them.
    fs::write(folder.path().join("a/data"), "x").unwrap();
    store.delete(&key("a/data")).await.unwrap();
    assert!(store.stat(&key("a/data")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_removal_that_goes_on_is_not_disturbed_by_a_look() {
    let (folder, _calls, store) = store();
    put(&store, "a/data", Mode::Replace).await.unwrap();
    let path = folder.path().join("a/data");
    let aside = pending_removal::name(&path);
    // Another process.
    let lock = File::open(&path).unwrap();
    lock.try_lock().unwrap();
    fs::rename(&path, &aside).unwrap();
    assert!(store.stat(&key("a/data")).await.unwrap_err().is_not_found());
    assert!(aside.exists());
    drop(lock);
    assert!(store.stat(&key("a/data")).await.is_ok());
}

#[tokio::test]
async fn a_file_system_without_hard_links_takes_what_is_created_and_set_aside() {
    for (no_free_rename, error) in [
        (false, Errno::OPNOTSUPP),
        (false, Errno::PERM),
        (true, Errno::PERM),
    ] {
        let (folder, calls, store) = store();
        calls.fail("link", error, ALWAYS);
        if no_free_rename {
            calls.fail("rename_to_free", Errno::INVAL, ALWAYS);
        }
        put(&store, "a/owner", Mode::Create).await.unwrap();
        let taken = put(&store, "a/owner", Mode::Create).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken:?}");
        // A removal whose file was refreshed before it was set aside puts it back.
        set_aside(folder.path(), "a/owner");
        assert!(store.stat(&key("a/owner")).await.is_ok());
        assert_eq!(list(&store, "a").await, ["owner"]);
        let path = folder.path().join("a/owner");
        let aside = pending_removal::name(&path);
        fs::rename(&path, &aside).unwrap();
        pending_removal::put_back(&store.folder, &aside, &path).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn a_file_system_without_locks_keeps_two_writers_of_one_server_apart() {
    for error in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS] {
        let (_folder, calls, store) = store();
        calls.fail("lock", error, ALWAYS);
        let writer = staged(&store, "up/data").await;
        let second = store.stage(&key("up/data"), Staged::AtEnd).await.err().unwrap();
        assert!(matches!(second, Error::Busy { .. }), "{second:?}");
        drop(writer);
        store.publish(&key("up/data"), &key("a/blob"), 5).await.unwrap();
        assert_eq!(collect(&store, "a/blob", "a").await, Some(5));
    }
}

#[tokio::test]
async fn without_locks_what_was_set_aside_just_now_is_left_to_its_removal() {
    let (folder, calls, store) = store();
    calls.fail("lock", Errno::NOLCK, ALWAYS);
    put(&store, "a/data", Mode::Replace).await.unwrap();
    set_aside(folder.path(), "a/data");
    assert!(store.stat(&key("a/data")).await.unwrap_err().is_not_found());
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), Swept::default());
    assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_system_whose_folders_cannot_be_synced_takes_writes() {
    let (_folder, calls, store) = store();
    calls.fail("sync_folder", Errno::INVAL, ALWAYS);
    put(&store, "a/b/link", Mode::Replace).await.unwrap();
    drop(staged(&store, "up/data").await);
    store.publish(&key("up/data"), &key("blob"), 5).await.unwrap();
    store.delete(&key("blob")).await.unwrap();
}

#[tokio::test]
async fn a_store_that_was_there_and_is_gone_is_neither_empty_nor_made_anew() {
    let above = tempfile::tempdir().unwrap();
    let (root, away) = (above.path().join("data"), above.path().join("away"));
    let options = FilesystemOptions::default();
    let store = Filesystem::new(&root, &options).unwrap();
    put(&store, "a/b/link", Mode::Replace).await.unwrap();
    let mut writer = staged(&store, "up/data").await;
    let gone = |error: Error| assert!(matches!(error, Error::Gone { .. }), "{error:?}");

    for replaced in [false, true] {
        fs::rename(&root, &away).unwrap();
        if replaced {
            // For example the folder under a mount point, once with content of its own.
            fs::create_dir_all(root.join("a/b")).unwrap();
        }
        gone(store.stat(&key("a/b/link")).await.unwrap_err());
        gone(store.get(&key("a/b/link"), 10).await.unwrap_err());
        gone(store.read(&key("a/b/link"), ReadRange::Full).await.unwrap_err());
        gone(store.list(&key("a")).await.err().unwrap());
        gone(store.list(&key("docker")).await.err().unwrap());
        gone(put(&store, "a/b/other", Mode::Replace).await.unwrap_err());
        gone(put(&store, "new/other", Mode::Replace).await.unwrap_err());
        gone(store.stage(&key("up/more"), Staged::New).await.err().unwrap());
        gone(writer.write(Bytes::from_static(b"more")).await.unwrap_err());
        gone(store.publish(&key("up/data"), &key("blob"), 5).await.unwrap_err());
        gone(store.delete(&key("a/b/link")).await.unwrap_err());
        gone(store.delete_tree(&key("a"), Durability::Crash).await.unwrap_err());
        assert_eq!(options.store_health.problem(), Some("storage missing"));
        assert_eq!(root.exists(), replaced);
        if replaced {
            fs::remove_dir_all(&root).unwrap();
        }
        // It comes back by itself, without a write.
        fs::rename(&away, &root).unwrap();
        assert_eq!(store.stat(&key("a/b/link")).await.unwrap().size, 5);
        assert_eq!(options.store_health.problem(), None);
    }
    drop(writer);
    store.publish(&key("up/data"), &key("blob"), 5).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_emptied_while_it_is_used_is_an_empty_one() {
    let above = tempfile::tempdir().unwrap();
    let store = Filesystem::new(above.path().join("data"), &FilesystemOptions::default()).unwrap();
    put(&store, "a/b/link", Mode::Replace).await.unwrap();
    fs::remove_dir_all(above.path().join("data/a")).unwrap();
    assert!(store.stat(&key("a/b/link")).await.unwrap_err().is_not_found());
    assert_eq!(list(&store, "a").await, [""; 0]);
    put(&store, "a/b/link", Mode::Replace).await.unwrap();
}
