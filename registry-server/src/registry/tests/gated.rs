//! A store in memory whose calls wait for permits, so that a test decides how the calls of two tasks interleave.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::storage::{
    Append, Condition, Content, Driver, Durability, EntryKind, Error, InMemory, LargeWrite, Listing,
    Metadata, Mode, ReadRange, Reclaim, Staged, StorageKey, Swept, Writer,
};

/// The age that is added to objects that are made old.
const OLD: Duration = Duration::from_secs(2 * 3600);

/// How a store removes an object on a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removals {
    /// It checks the condition and removes the object in one step, as in a folder.
    AtOnce,
    /// In several steps, as in a bucket: other calls come in between.
    Apart,
}

/// The state that both tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) memory: InMemory,
    removals: Removals,
    /// Objects that a task is about to remove.
    going: Mutex<BTreeSet<StorageKey>>,
    /// Objects that were written before this time count as old.
    old_before: Mutex<Option<SystemTime>>,
}

impl Shared {
    pub(super) fn new(removals: Removals) -> Arc<Self> {
        Arc::new(Self {
            memory: InMemory::new(),
            removals,
            going: Mutex::default(),
            old_before: Mutex::default(),
        })
    }

    /// Makes all objects two hours old.
    pub(super) fn make_old(&self) {
        *self.old_before.lock().unwrap() = Some(SystemTime::now());
    }

    fn dated(&self, modified: SystemTime) -> SystemTime {
        match *self.old_before.lock().unwrap() {
            Some(before) if modified <= before => modified - OLD,
            _ => modified,
        }
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        let found = self.memory.stat(key).await?;
        Ok(Metadata {
            modified: self.dated(found.modified),
            ..found
        })
    }

    async fn holds(&self, key: &StorageKey, condition: &Condition) -> Result<Option<Metadata>, Error> {
        let found = self.stat(key).await?;
        let holds = match condition {
            Condition::Older(limit) => found.modified <= *limit,
            Condition::Holds(bytes) => self.memory.get(key, 1 << 20).await? == bytes,
        };
        Ok(holds.then_some(found))
    }

    /// Every object at and below a key.
    async fn below(&self, prefix: &StorageKey) -> Result<Vec<StorageKey>, Error> {
        let (mut pending, mut found) = (vec![prefix.clone()], Vec::new());
        while let Some(prefix) = pending.pop() {
            if self.memory.try_stat(&prefix).await?.is_some() {
                found.push(prefix.clone());
            }
            let entries = self.memory.list(&prefix).await?;
            let entries: Vec<_> = futures_util::TryStreamExt::try_collect(entries).await?;
            for entry in entries {
                let key = prefix.child(&entry.name)?;
                match entry.kind {
                    EntryKind::Prefix => pending.push(key),
                    EntryKind::Object => found.push(key),
                }
            }
        }
        Ok(found)
    }
}

/// The progress of one task.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
    given: AtomicUsize,
    asked: AtomicUsize,
    /// Whether it waits for the other task, and not for a permit.
    waits: AtomicBool,
}

impl Gate {
    async fn use_permit(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
    }

    /// Whether it can only continue when the other task does.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::SeqCst)
    }

    fn is_parked(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > self.given.load(Ordering::SeqCst)
    }

    /// Lets a task make so many more calls, and waits until it has made them, is done, or waits for the other task.
    pub(super) async fn advance<T>(&self, calls: usize, side: &JoinHandle<T>) {
        self.given.fetch_add(calls, Ordering::SeqCst);
        self.permits.add_permits(calls);
        while !side.is_finished() && !self.is_parked() && !self.waits() {
            tokio::task::yield_now().await;
        }
    }
}

/// More calls than any task of a test makes.
pub(super) const TO_THE_END: usize = 1 << 20;

/// The store for one task.
#[derive(Debug)]
pub(super) struct Gated {
    pub(super) shared: Arc<Shared>,
    pub(super) gate: Arc<Gate>,
}

impl Gated {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            gate: Arc::new(Gate {
                permits: Semaphore::new(0),
                given: AtomicUsize::new(0),
                asked: AtomicUsize::new(0),
                waits: AtomicBool::new(false),
            }),
        }
    }

    /// Waits until no task is about to remove an object.
    async fn settled(&self, key: &StorageKey) {
        while self.shared.going.lock().unwrap().contains(key) {
            self.gate.waits.store(true, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        self.gate.waits.store(false, Ordering::SeqCst);
    }

    async fn delete_marked(
        &self,
        key: &StorageKey,
        condition: &Condition,
    ) -> Result<Option<Metadata>, Error> {
        self.gate.use_permit().await;
        let Some(found) = self.shared.holds(key, condition).await? else {
            return Ok(None);
        };
        self.gate.use_permit().await;
        match self.shared.memory.delete(key).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Some(found)),
        }
    }
}

#[async_trait]
impl Driver for Gated {
    fn name(&self) -> &'static str {
        self.shared.memory.name()
    }

    async fn stat(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.gate.use_permit().await;
        self.shared.stat(key).await
    }

    async fn get(&self, key: &StorageKey, limit: u64) -> Result<Bytes, Error> {
        self.gate.use_permit().await;
        self.shared.memory.get(key, limit).await
    }

    async fn read(&self, key: &StorageKey, range: ReadRange) -> Result<Content, Error> {
        self.gate.use_permit().await;
        let mut content = self.shared.memory.read(key, range).await?;
        content.modified = self.shared.dated(content.modified);
        Ok(content)
    }

    async fn put(
        &self,
        key: &StorageKey,
        bytes: Bytes,
        mode: Mode,
        durability: Durability,
    ) -> Result<(), Error> {
        self.gate.use_permit().await;
        self.shared.memory.put(key, bytes, mode, durability).await
    }

    async fn delete(&self, key: &StorageKey) -> Result<(), Error> {
        self.gate.use_permit().await;
        self.shared.memory.delete(key).await
    }

    async fn delete_tree(&self, prefix: &StorageKey, durability: Durability) -> Result<(), Error> {
        self.gate.use_permit().await;
        // No store removes a tree in one step.
        for key in self.shared.below(prefix).await? {
            self.gate.use_permit().await;
            self.shared.memory.delete_tree(&key, durability).await?;
        }
        Ok(())
    }

    async fn list(&self, prefix: &StorageKey) -> Result<Listing, Error> {
        self.gate.use_permit().await;
        self.shared.memory.list(prefix).await
    }

    fn large_write(&self) -> LargeWrite<'_> {
        LargeWrite::Append(self)
    }

    async fn redirect(&self, key: &StorageKey) -> Result<Option<String>, Error> {
        self.shared.memory.redirect(key).await
    }

    async fn sweep(&self, age: Duration) -> Result<Swept, Error> {
        self.shared.memory.sweep(age).await
    }
}

#[async_trait]
impl Reclaim for Gated {
    async fn touch(&self, key: &StorageKey) -> Result<(), Error> {
        self.gate.use_permit().await;
        self.shared.memory.touch(key).await?;
        if self.shared.removals == Removals::Apart {
            self.settled(key).await;
            self.gate.use_permit().await;
            self.shared.memory.stat(key).await?;
        }
        Ok(())
    }

    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        _: &StorageKey,
        _: Durability,
    ) -> Result<Option<Metadata>, Error> {
        self.gate.use_permit().await;
        let Some(found) = self.shared.holds(key, condition).await? else {
            return Ok(None);
        };
        match self.shared.removals {
            Removals::AtOnce => self.shared.memory.delete(key).await.map(|()| Some(found)),
            Removals::Apart => {
                self.gate.use_permit().await;
                self.shared.going.lock().unwrap().insert(key.clone());
                let removed = self.delete_marked(key, condition).await;
                self.gate.use_permit().await;
                self.shared.going.lock().unwrap().remove(key);
                removed
            }
        }
    }

    async fn confirm_put(&self, key: &StorageKey) -> Result<bool, Error> {
        self.gate.use_permit().await;
        match self.shared.removals {
            Removals::AtOnce => Ok(true),
            Removals::Apart => {
                self.settled(key).await;
                Ok(self.shared.memory.try_stat(key).await?.is_some())
            }
        }
    }

    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error> {
        self.stat(key).await
    }
}

impl Gated {
    /// Tries again until the other task closes what it has open.
    async fn let_go<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            self.gate.use_permit().await;
            let result = attempt().await;
            let is_busy = matches!(result, Err(Error::Busy { .. }));
            self.gate.waits.store(is_busy, Ordering::SeqCst);
            if !is_busy {
                return result;
            }
            self.gate.given.fetch_add(1, Ordering::SeqCst);
            self.gate.permits.add_permits(1);
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Append for Gated {
    async fn stage(&self, key: &StorageKey, staged: Staged) -> Result<Box<dyn Writer>, Error> {
        self.let_go(|| self.shared.memory.stage(key, staged)).await
    }

    async fn publish(&self, staged: &StorageKey, target: &StorageKey, size: u64) -> Result<(), Error> {
        self.let_go(|| self.shared.memory.publish(staged, target, size))
            .await
    }
}
