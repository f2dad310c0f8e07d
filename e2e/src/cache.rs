//! The cache folder, outside the checkout: built tools and the state of local clusters.
//!
//! Guarantees: the whole folder can be deleted while no local cluster runs, and is made again when it is missing. A
//! result appears under its name only when it is complete (temporary name, then rename). Must not: hold anything a
//! person would miss. Start at [`Cache::open`].

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The cache folder: `BERTH_CACHE`, or `~/.cache/berth`.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// An exclusive lock on one name inside the cache. It is released when it is dropped, and when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// Opens the cache and creates the folder when it is missing.
    ///
    /// # Errors
    /// Neither `BERTH_CACHE` nor `HOME` is set, or the folder cannot be made.
    pub fn open() -> Result<Self> {
        let root = match std::env::var_os("BERTH_CACHE").filter(|value| !value.is_empty()) {
            Some(root) => PathBuf::from(root),
            None => PathBuf::from(std::env::var_os("HOME").context("neither BERTH_CACHE nor HOME is set")?)
                .join(".cache/berth"),
        };
        let root = std::path::absolute(&root)
            .with_context(|| format!("`{}` is no usable path for the cache", root.display()))?;
        create(&root)?;
        Ok(Self { root })
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of that name inside the cache, created when it is missing.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        create(&folder)?;
        Ok(folder)
    }

    /// Waits for the lock of that name, so that two runs that need the same thing make it once.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let (file, path) = self.lock_file(name)?;
        file.lock()
            .with_context(|| format!("cannot lock `{}`", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// The lock of that name, or `None` when another process holds it.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        let (file, path) = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock `{}`", path.display()))
            }
        }
    }

    fn lock_file(&self, name: &str) -> Result<(File, PathBuf)> {
        let path = self.folder("locks")?.join(name);
        let file = File::create(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        Ok((file, path))
    }
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder `{}`", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_lock_is_had_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: dir.path().to_owned(),
        };
        let first = cache.try_lock("x").unwrap();
        assert!(first.is_some());
        assert!(cache.try_lock("x").unwrap().is_none());
        drop(first);
        // A program that another test just starts holds every open file until its `exec`.
        let deadline = Instant::now() + Duration::from_secs(30);
        while cache.try_lock("x").unwrap().is_none() {
            assert!(Instant::now() < deadline, "the lock is still held");
            thread::yield_now();
        }
    }
}
