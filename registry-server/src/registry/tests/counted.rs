//! A store that counts its calls, and how many of them run at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::storage::{
    Condition, Content, Driver, Durability, Error, InMemory, LargeWrite, Listing, Metadata, Mode, ReadRange,
    Reclaim, StorageKey, Swept,
};

/// A store in memory that counts its calls.
#[derive(Debug, Default)]
pub(in crate::registry) struct Counted {
    pub(in crate::registry) inner: InMemory,
    calls: Mutex<BTreeMap<&'static str, usize>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Counted {
    pub(in crate::registry) fn of(inner: &InMemory) -> Self {
        Self {
            inner: inner.clone(),
            ..Self::default()
        }
    }

    /// How many calls of a kind there were since the last question.
    pub(in crate::registry) fn take(&self, kind: &str) -> usize {
        self.calls.lock().unwrap().remove(kind).unwrap_or_default()
    }

    /// How many calls ran at once at most since the last question.
    pub(in crate::registry) fn take_most(&self) -> usize {
        self.most.swap(0, Ordering::Relaxed)
    }

    /// One call. It takes time, as a call of another machine does.
    async fn call<T>(&self, kind: &'static str, call: impl Future<Output = T>) -> T {
        *self.calls.lock().unwrap().entry(kind).or_default() += 1;
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(running, Ordering::Relaxed);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let result = call.await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        result
    }
}

#[async_trait]
impl Driver for Counted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.call("stat", self.inner.stat(key)).await
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
        self.call("get", self.inner.get(key, limit)).await
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
        self.call("read", self.inner.read(key, range)).await
    }

    async fn put(
        &self,
        key: &StorageKey,
        bytes: Bytes,
        mode: Mode,
        durability: Durability,
    ) -> Result<(), Error> {
        self.call("put", self.inner.put(key, bytes, mode, durability))
            .await
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), Error> {
        self.call("delete", self.inner.delete(key)).await
    }

    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), Error> {
        let call = self.inner.delete_tree(prefix, durability);
        self.call("delete", call).await
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error> {
        self.call("list", self.inner.list(prefix)).await
    }

    fn large_write(&self) -> LargeWrite<'_> {
        self.inner.large_write()
    }

    async fn redirect(&self, key: &StorageKey) -> Result<Option<String>, Error> {
        self.inner.redirect(key).await
    }

    async fn sweep(&self, age: Duration) -> Result<Swept, Error> {
        self.inner.sweep(age).await
    }
}

#[async_trait]
impl Reclaim for Counted {
    async fn confirm_put(&self, key: &StorageKey) -> Result<bool, Error> {
        self.inner.confirm_put(key).await
    }

    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.call("stat", self.inner.stat_touched(key)).await
    }

    async fn touch(&self, key: &StorageKey) -> Result<(), Error> {
        self.call("refresh", self.inner.touch(key)).await
    }

    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        prune_root: &StorageKey,
        durability: Durability,
    ) -> Result<Option<Metadata>, Error> {
        let call = self.inner.delete_if(key, condition, prune_root, durability);
        self.call("delete", call).await
    }
}
