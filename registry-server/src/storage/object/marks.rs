//! Marks beside objects: what makes one young, and what says that one is about to go.
//!
//! Buckets cannot set an object's time, and most cannot remove one on a condition. Two marks make up for it. Whoever
//! refreshes writes its mark first and then looks for one that says the object is about to go; whoever removes writes
//! that one first and then looks for a refresh. Since a store shows every write at once to everybody, one of the two
//! sees the other: the remover lets the object be, or the refresher waits until it is gone and says so.
//! Whoever replaces an object that others may be removing for what it held (`Driver::confirm_put`) looks for that mark as
//! well, and puts it again if it went.
//! How long ago a mark was written is told by the store's clock alone: the age of one object is the time of a younger one
//! less its own. A server's clock may be wrong.
//! A mark lies beside its object under its name and an ending no registry gives, and goes with it.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use object_store::PutOptions;

use super::Object;
use crate::storage::{Condition, Driver as _, Error, Metadata, StorageKey};

const REFRESHED: &str = ".refreshed";
const GOING: &str = ".going";

/// After this time, by the store's clock, whoever said that an object is about to go has died before it removed it.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// After this time, by its own clock, a remover does not remove any more what it said is about to go: also when its
/// machine slept. All tries of the removal end before [`GIVEN_UP`].
const REMOVES_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked whether an object is gone.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a name is that of a mark.
pub(super) fn is_mark(name: &str) -> bool {
    name.ends_with(REFRESHED) || name.ends_with(GOING)
}

/// What time it is by the store's clock, from the time of an object that was written a moment ago.
#[derive(Debug, Clone, Copy)]
struct StoreClock {
    then: SystemTime,
    read: Instant,
}

impl StoreClock {
    fn at(then: SystemTime) -> Self {
        let read = Instant::now();
        Self { then, read }
    }

    fn age(&self, written: SystemTime) -> Duration {
        let before = self.then.duration_since(written).unwrap_or_default();
        before + self.read.elapsed()
    }
}

impl Object {
    fn beside(&self, key: &StorageKey, ending: &str) -> Result<StorageKey, Error> {
        StorageKey::parse(&format!("{key}{ending}"))
    }

    async fn write_mark(&self, key: &StorageKey) -> Result<(), Error> {
        self.write(key, Bytes::new().into(), PutOptions::default())
            .await
            .map(drop)
    }

    /// Size of an object, and when it was written or marked last.
    pub(super) async fn stat_with_mark(&self, key: &StorageKey) -> Result<Metadata, Error> {
        let found = self.stat(key).await?;
        let mark = self.try_stat(&self.beside(key, REFRESHED)?).await?;
        Ok(Metadata {
            modified: mark.map_or(found.modified, |mark| found.modified.max(mark.modified)),
            ..found
        })
    }

    /// Makes an object young.
    pub(super) async fn mark(&self, key: &StorageKey) -> Result<(), Error> {
        // What is not there gets no mark.
        self.stat(key).await?;
        let (refreshed, going) = (self.beside(key, REFRESHED)?, self.beside(key, GOING)?);
        self.write_mark(&refreshed).await?;
        let mut clock = None;
        while let Some(said) = self.try_stat(&going).await? {
            let clock = match clock {
                Some(clock) => clock,
                None => *clock.insert(StoreClock::at(self.stat(&refreshed).await?.modified)),
            };
            if clock.age(said.modified) > GIVEN_UP {
                break;
            }
            // Another process removes it, or finds our mark: nobody here could tell when.
            tokio::time::sleep(LOOK).await;
        }
        self.stat(key).await.map(drop)
    }

    /// Whether an object that was just written outlives whoever was about to remove what was there before. One list
    /// shows it and the mark at the same moment.
    pub(super) async fn stands_beside_marks(&self, key: &StorageKey) -> Result<bool, Error> {
        let Some((folder, name)) = key.as_str().rsplit_once('/') else {
            return Ok(true);
        };
        let (folder, going) = (StorageKey::parse(folder)?, format!("{name}{GOING}"));
        let mut clock = None;
        loop {
            let (page, _) = self.page(&folder, true, None).await?;
            let found = |name: &str| {
                page.objects
                    .iter()
                    .find(|found| found.location.filename() == Some(name))
            };
            let is_going = found(&going).is_some_and(|mark| {
                let said: SystemTime = mark.last_modified.into();
                // The object was put a moment ago. If it is gone already, the mark is at least as old as this look.
                let put = found(name).map_or(said, |put| put.last_modified.into());
                clock.get_or_insert_with(|| StoreClock::at(put)).age(said) <= GIVEN_UP
            });
            if !is_going {
                return Ok(found(name).is_some());
            }
            // Another process removes it, or finds that it is another one: nobody here could tell when.
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Removes an object if a condition holds, and nobody refreshed it.
    pub(super) async fn delete_unless_marked(
        &self,
        key: &StorageKey,
        condition: &Condition,
    ) -> Result<Option<Metadata>, Error> {
        // Most of what stays is seen by one look.
        let found = self.stat(key).await?;
        if !self.holds(key, &found, condition).await? {
            return Ok(None);
        }
        let going = self.beside(key, GOING)?;
        let begun = Instant::now();
        self.write_mark(&going).await?;
        let removed = self.delete_marked(key, condition, begun).await;
        let unmarked = self.remove("unmark", key, vec![self.path(&going)?]).await;
        let removed = removed?;
        unmarked?;
        Ok(removed)
    }

    async fn delete_marked(
        &self,
        key: &StorageKey,
        condition: &Condition,
        begun: Instant,
    ) -> Result<Option<Metadata>, Error> {
        let found = self.stat(key).await?;
        if !self.holds(key, &found, condition).await? || begun.elapsed() > REMOVES_WITHIN {
            return Ok(None);
        }
        let refreshed = self.path(&self.beside(key, REFRESHED)?)?;
        self.remove("delete", key, vec![self.path(key)?, refreshed])
            .await?;
        Ok(Some(found))
    }

    async fn holds(&self, key: &StorageKey, found: &Metadata, condition: &Condition) -> Result<bool, Error> {
        match condition {
            Condition::Older(limit) if found.modified > *limit => Ok(false),
            Condition::Older(limit) => {
                let mark = self.try_stat(&self.beside(key, REFRESHED)?).await?;
                Ok(mark.is_none_or(|mark| mark.modified <= *limit))
            }
            Condition::Holds(bytes) if found.size != bytes.len() as u64 => Ok(false),
            Condition::Holds(bytes) => match self.get(key, found.size).await {
                Ok(actual) => Ok(actual == bytes),
                Err(Error::TooLarge { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }
}
