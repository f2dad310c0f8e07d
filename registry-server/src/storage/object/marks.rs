//! Marks: small objects beside an object, which say that it was touched, or that it is about to be removed.
//!
//! In a bucket the time of an object cannot be set, and most stores have no conditional removal. Two marks replace both. A
//! touch writes the mark `.refreshed` first and then looks for the mark `.going`. A removal writes `.going` first and then looks
//! for `.refreshed`. Since a store shows every write at once to all clients, one of the two sees the other: the removal leaves
//! the object, or the touch waits until the object is gone and fails.
//! A writer that replaces an object which may be about to be removed (`Reclaim::confirm_put`) looks for `.going` as well, and
//! puts the object again if it was removed.
//! The age of a mark is measured by the store's clock alone, from the time of a younger object, since a server's clock may be
//! wrong.
//! The name of a mark is that of its object with a suffix that no registry uses. A mark is removed with its object.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use object_store::PutOptions;

use super::store::Object;
use crate::storage::{Condition, Driver as _, Error, Metadata, StorageKey};

const REFRESHED: &str = ".refreshed";
const GOING: &str = ".going";

/// A `.going` mark of this age, by the store's clock, is that of a removal which was killed.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// After this time, by its own clock, a removal gives up, for example because its machine slept. So all its tries end before
/// [`GIVEN_UP`].
const REMOVES_WITHIN: Duration = Duration::from_secs(60);

/// The pause between two checks whether a removal has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a name is that of a mark.
pub(super) fn is_mark(name: &str) -> bool {
    name.ends_with(REFRESHED) || name.ends_with(GOING)
}

/// The store's clock, read from the time of an object that was written a moment ago.
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
    fn mark_key(&self, key: &StorageKey, ending: &str) -> Result<StorageKey, Error> {
        Ok(StorageKey::parse(&format!("{key}{ending}"))?)
    }

    async fn write_mark(&self, key: &StorageKey) -> Result<(), Error> {
        self.write(key, Bytes::new().into(), PutOptions::default())
            .await
            .map(drop)
    }

    /// Size of an object, and the time of its last write or touch.
    pub(super) async fn stat_with_mark(&self, key: &StorageKey) -> Result<Metadata, Error> {
        let found = self.stat(key).await?;
        let mark = self.try_stat(&self.mark_key(key, REFRESHED)?).await?;
        Ok(Metadata {
            modified: mark.map_or(found.modified, |mark| found.modified.max(mark.modified)),
            ..found
        })
    }

    /// Touches an object.
    pub(super) async fn mark(&self, key: &StorageKey) -> Result<(), Error> {
        // A missing object gets no mark.
        self.stat(key).await?;
        let (refreshed, going) = (self.mark_key(key, REFRESHED)?, self.mark_key(key, GOING)?);
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
            // Another process removes the object, or sees the mark of this touch. There is no event to wait for.
            tokio::time::sleep(LOOK).await;
        }
        self.stat(key).await.map(drop)
    }

    /// Whether an object that was just written is still there after a removal of the old one has ended. One list shows the
    /// object and the mark at the same moment.
    pub(super) async fn confirm_put_by_marks(&self, key: &StorageKey) -> Result<bool, Error> {
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
                // The object was put a moment ago. If it is gone already, the mark is older than this list.
                let put = found(name).map_or(said, |put| put.last_modified.into());
                clock.get_or_insert_with(|| StoreClock::at(put)).age(said) <= GIVEN_UP
            });
            if !is_going {
                return Ok(found(name).is_some());
            }
            // Another process removes the object, or sees that it was replaced. There is no event to wait for.
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Removes an object if a condition holds and it was not touched.
    pub(super) async fn delete_unless_marked(
        &self,
        key: &StorageKey,
        condition: &Condition,
    ) -> Result<Option<Metadata>, Error> {
        // Most objects that stay are recognised by one request.
        let found = self.stat(key).await?;
        if !self.holds(key, &found, condition).await? {
            return Ok(None);
        }
        let going = self.mark_key(key, GOING)?;
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
        let refreshed = self.path(&self.mark_key(key, REFRESHED)?)?;
        self.remove("delete", key, vec![self.path(key)?, refreshed])
            .await?;
        Ok(Some(found))
    }

    async fn holds(&self, key: &StorageKey, found: &Metadata, condition: &Condition) -> Result<bool, Error> {
        match condition {
            Condition::Older(limit) if found.modified > *limit => Ok(false),
            Condition::Older(limit) => {
                let mark = self.try_stat(&self.mark_key(key, REFRESHED)?).await?;
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
