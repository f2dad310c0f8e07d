//! A collection that is interrupted after any of its removals.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use tokio::sync::Notify;

use super::model::{Model, lenient, pushes};
use super::*;
use crate::storage::{self, Condition, Content, LargeWrite, Listing, Metadata, ReadRange, Reclaim, Swept};

/// A store whose process ends after a number of removals: the next removal never returns.
#[derive(Debug)]
struct Ending {
    inner: InMemory,
    left: AtomicUsize,
    ended: Notify,
}

#[async_trait]
impl Driver for Ending {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, storage::Error> {
        self.inner.stat(key).await
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, storage::Error> {
        self.inner.get(key, limit).await
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, storage::Error> {
        self.inner.read(key, range).await
    }

    async fn put(
        &self,
        key: &StorageKey,
        bytes: Bytes,
        mode: Mode,
        durability: Durability,
    ) -> Result<(), storage::Error> {
        self.inner.put(key, bytes, mode, durability).await
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), storage::Error> {
        self.inner.delete(key).await
    }

    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), storage::Error> {
        self.inner.delete_tree(prefix, durability).await
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, storage::Error> {
        self.inner.list(prefix).await
    }

    fn large_write(&self) -> LargeWrite<'_> {
        self.inner.large_write()
    }

    async fn redirect(&self, key: &StorageKey) -> Result<Option<String>, storage::Error> {
        self.inner.redirect(key).await
    }

    async fn sweep(&self, age: Duration) -> Result<Swept, storage::Error> {
        self.inner.sweep(age).await
    }
}

#[async_trait]
impl Reclaim for Ending {
    async fn confirm_put(&self, key: &StorageKey) -> Result<bool, storage::Error> {
        self.inner.confirm_put(key).await
    }

    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, storage::Error> {
        self.inner.stat_touched(key).await
    }

    async fn touch(&self, key: &StorageKey) -> Result<(), storage::Error> {
        self.inner.touch(key).await
    }

    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        prune_root: &StorageKey,
        durability: Durability,
    ) -> Result<Option<Metadata>, storage::Error> {
        let less = |left: usize| left.checked_sub(1);
        if self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_err()
        {
            self.ended.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.delete_if(key, condition, prune_root, durability).await
    }
}

/// Checks that every link of a blob or a manifest has its payload.
async fn nothing_dangles(registry: &Registry) {
    for key in keys(registry.driver()).await {
        let place = ObjectPath::parse(&StorageKey::parse(&key).unwrap()).expect(&key);
        if let ObjectPath::LayerLink { .. } | ObjectPath::RevisionLink { .. } | ObjectPath::BlobAlias { .. } =
            place
        {
            let digest = registry.read_link(&place).await.unwrap().unwrap();
            let payload = ObjectPath::BlobData { digest }.key();
            assert!(
                registry.driver().stat(&payload).await.is_ok(),
                "{key} leads nowhere"
            );
        }
    }
}

#[tokio::test]
async fn a_collection_cut_off_behind_any_removal_leaves_what_stays_whole_and_no_link_that_dangles() {
    let mut runner = TestRunner::deterministic();
    let (mut removals, mut runs) = (0, 0);
    for _ in 0..12 {
        let pushes = pushes().new_tree(&mut runner).unwrap().current();
        for untagged in [Untagged::Keep, Untagged::Delete] {
            for allowed in 0.. {
                let inner = InMemory::new();
                let plain = lenient(Arc::new(inner.clone()));
                let model = Model::of(&plain, &pushes).await;
                let driver = Arc::new(Ending {
                    inner,
                    left: AtomicUsize::new(allowed),
                    ended: Notify::new(),
                });
                let registry = lenient(Arc::clone(&driver) as Arc<dyn Driver>);
                let (collecting, mut silent) = (at_once(untagged), |_: CollectionEvent<'_>| {});
                let finished = tokio::select! {
                    biased;
                    () = driver.ended.notified() => false,
                    collected = registry.collect_garbage(&collecting, &mut silent) => {
                        assert_eq!(collected.unwrap().failed, 0);
                        true
                    }
                };
                model.check_whole(&plain, &model.kept(untagged)).await;
                nothing_dangles(&plain).await;
                runs += 1;
                if finished {
                    removals += allowed;
                    break;
                }
            }
        }
    }
    assert!(removals > 100, "only {removals} removals in {runs} runs");
}
