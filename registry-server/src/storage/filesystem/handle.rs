//! Open files and their locks. Files are closed on threads that may block.
//!
//! On a network file system, closing a file first sends all written bytes to the server. So a [`Handle`] that is dropped on an
//! async thread, for example by a cancelled request, hands its file to a thread that may block.
//!
//! A lock has two parts. One is a table of this process, which works on file systems without locks too. The other is the
//! kernel's lock, for other processes. Both end when the file is closed. A call that needs a file which is waiting to be
//! closed closes it; if the file is being closed, the call waits. So the next handle can be opened as soon as one is dropped.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle as Runtime;
use tokio::task::JoinHandle;

use super::capabilities::{Capabilities, LockScope};
use crate::storage::{Error, StorageKey};
use crate::telemetry::request::spawn_blocking;

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Runs work on a thread that may block. Handles that are dropped there are closed at once.
pub(super) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_blocking(move || marked(work))
}

fn marked<T>(work: impl FnOnce() -> T) -> T {
    struct Marked;
    impl Drop for Marked {
        fn drop(&mut self) {
            MAY_BLOCK.set(false);
        }
    }
    MAY_BLOCK.set(true);
    let _marked = Marked;
    work()
}

/// The identity of an open file: device and inode number.
type Id = (u64, u64);

/// An open file.
#[derive(Debug)]
pub(super) struct Handle {
    /// `None` only while the handle is dropped.
    file: Option<File>,
    /// The lock on it, if it has one.
    locked: Option<Id>,
    reach: LockScope,
}

impl Handle {
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Some(file),
            locked: None,
            reach: LockScope::ThisProcess,
        }
    }

    /// Locks a file that was opened by a path against every other writer.
    ///
    /// The path is checked again once the lock is held: a file that was renamed between the open and the lock may be a blob
    /// now, and must never be written to.
    ///
    /// # Errors
    /// [`Error::Busy`] when the lock is held by another handle, or the path leads to another file now; [`Error::NotFound`]
    /// when there is no file at the path; or the system's.
    pub(super) fn locked(
        capabilities: &Capabilities,
        key: &StorageKey,
        file: File,
        path: &Path,
    ) -> Result<Self, Error> {
        let failed = |error| Error::io("lock", key, error);
        let busy = || Error::Busy { key: key.clone() };
        let mut handle = Self::new(file);
        let ours = id(&handle.metadata().map_err(failed)?);
        if !LOCKS.take(ours) {
            return Err(busy());
        }
        handle.locked = Some(ours);
        handle.reach = match capabilities.lock(&handle) {
            Ok(reach) => reach,
            Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        if id(&fs::metadata(path).map_err(failed)?) != ours {
            return Err(busy());
        }
        Ok(handle)
    }

    /// The scope of its lock.
    pub(super) fn lock_scope(&self) -> LockScope {
        self.reach
    }
}

fn id(metadata: &fs::Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

impl Deref for Handle {
    type Target = File;

    fn deref(&self) -> &File {
        self.file
            .as_ref()
            .expect("a handle has its file until it is dropped")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let closing = match self.locked {
            Some(id) => {
                LOCKS.give_back(id, file);
                Closing::Locked(id)
            }
            None => Closing::Unlocked(Some(file)),
        };
        match Runtime::try_current() {
            Ok(runtime) if !MAY_BLOCK.get() => {
                drop(runtime.spawn_blocking(move || marked(|| drop(closing))));
            }
            Ok(_) | Err(_) => drop(closing),
        }
    }
}

/// A file that is closed when this is dropped, which happens also when the runtime ends before.
enum Closing {
    Unlocked(Option<File>),
    Locked(Id),
}

impl Drop for Closing {
    fn drop(&mut self) {
        match self {
            Self::Unlocked(file) => {
                if let Some(file) = file.take() {
                    close(file);
                }
            }
            Self::Locked(id) => LOCKS.close(*id),
        }
    }
}

/// Closes a file. It may take as long as writing all bytes to the server.
fn close(file: File) {
    #[cfg(test)]
    tests::note_close(&file);
    drop(file);
}

static LOCKS: LazyLock<Locks> = LazyLock::new(Locks::default);

/// How long a call waits for a file that is being closed.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// The locks of this process.
#[derive(Default)]
struct Locks {
    files: Mutex<HashMap<Id, LockState>>,
    closed: Condvar,
}

enum LockState {
    /// A handle holds the lock.
    Held,
    /// The handle was dropped, and the file waits to be closed.
    Dropped(File),
    /// The file is being closed.
    Closing,
}

impl LockState {
    fn close(self) {
        match self {
            Self::Dropped(file) => close(file),
            Self::Held | Self::Closing => {}
        }
    }
}

impl Locks {
    /// Takes the lock on a file; `false` when a handle holds it. Blocks while the file of the previous handle is being closed.
    fn take(&self, id: Id) -> bool {
        let deadline = Instant::now() + CLOSING_MAX;
        let mut files = self.files();
        loop {
            match files.get_mut(&id) {
                None => {
                    files.insert(id, LockState::Held);
                    return true;
                }
                Some(LockState::Held) => return false,
                Some(state @ LockState::Dropped(_)) => {
                    let dropped = std::mem::replace(state, LockState::Closing);
                    drop(files);
                    dropped.close();
                    self.files().insert(id, LockState::Held);
                    self.closed.notify_all();
                    return true;
                }
                Some(LockState::Closing) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let waited = self.closed.wait_timeout(files, left);
                    files = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Notes that the handle was dropped.
    fn give_back(&self, id: Id, file: File) {
        self.files().insert(id, LockState::Dropped(file));
    }

    /// Closes the file of a dropped handle, unless the next call for it did.
    fn close(&self, id: Id) {
        let mut files = self.files();
        let Some(state @ LockState::Dropped(_)) = files.get_mut(&id) else {
            return;
        };
        let dropped = std::mem::replace(state, LockState::Closing);
        drop(files);
        dropped.close();
        self.files().remove(&id);
        self.closed.notify_all();
    }

    /// No code that can panic runs while the mutex is held, so its state is valid even when it is poisoned.
    fn files(&self) -> MutexGuard<'_, HashMap<Id, LockState>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::StreamExt as _;

    use super::*;
    use crate::storage::{
        Driver as _, Durability, Filesystem, FilesystemOptions, LargeWrite, Mode, ReadRange, Staged,
    };

    /// Which files were closed, and whether the thread that closed them may block.
    static CLOSED: Mutex<Vec<(Id, bool)>> = Mutex::new(Vec::new());

    pub(super) fn note_close(file: &File) {
        let closed = (id(&file.metadata().unwrap()), MAY_BLOCK.get());
        CLOSED.lock().unwrap().push(closed);
    }

    /// Waits until a file was closed, after so many others, and tells whether that was where it may take long.
    async fn closed_where_it_may_block(file: Id, before: usize) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let closed = CLOSED.lock().unwrap()[before..].to_vec();
            match closed.into_iter().find(|(id, _)| *id == file) {
                Some((_, may_block)) => return may_block,
                None => assert!(Instant::now() < deadline, "the file was never closed"),
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_a_cut_request_had_open_is_closed_where_that_may_take_long() {
        let folder = tempfile::tempdir().unwrap();
        let store = Filesystem::new(folder.path(), &FilesystemOptions::default()).unwrap();
        let key = |text| StorageKey::parse(text).unwrap();
        let of = |name| id(&fs::metadata(folder.path().join(name)).unwrap());

        let closed = || CLOSED.lock().unwrap().len();
        let LargeWrite::Append(append) = store.large_write() else {
            panic!("a folder appends")
        };
        let before = closed();
        let mut writer = append.stage(&key("staged"), Staged::New).await.unwrap();
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        drop(writer);
        assert!(closed_where_it_may_block(of("staged"), before).await);

        let large = Bytes::from(vec![7; 1 << 20]);
        store
            .put(&key("large"), large, Mode::Replace, Durability::Crash)
            .await
            .unwrap();
        let before = closed();
        let mut content = store.read(&key("large"), ReadRange::Full).await.unwrap();
        content.next().await.unwrap().unwrap();
        drop(content);
        assert!(closed_where_it_may_block(of("large"), before).await);
    }

    #[tokio::test]
    async fn who_comes_next_has_the_lock_of_a_dropped_writer_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Filesystem::new(folder.path(), &FilesystemOptions::default()).unwrap());
        let key = StorageKey::parse("staged").unwrap();
        let LargeWrite::Append(append) = store.large_write() else {
            panic!("a folder appends")
        };
        drop(append.stage(&key, Staged::New).await.unwrap());
        for _ in 0..200 {
            let writer = append.stage(&key, Staged::AtEnd).await.unwrap();
            assert!(matches!(
                append.stage(&key, Staged::AtEnd).await.err(),
                Some(Error::Busy { .. })
            ));
            drop(writer);
        }
    }
}
