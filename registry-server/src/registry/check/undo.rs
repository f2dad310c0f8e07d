//! The way back from a repair: what it moved to the trash returns to its place.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::error::CheckError;
use super::trash::{LINE_MAX, read_line};
use crate::registry::live_servers::LiveServerPolicy;
use crate::registry::{Error, Registry};
use crate::storage::layout::{self, Area, Place};
use crate::storage::{self, ReadRange, StorageKey};

/// What an undoing tells.
#[derive(Debug)]
pub enum UndoEvent<'a> {
    /// It is in its place again.
    Restored(&'a str),
    /// Something else is in its place: it stays in the trash.
    Occupied(&'a str),
}

/// What an undoing did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct UndoReport {
    /// How many objects are in their places again.
    pub back: u64,
    /// How many had never left them.
    pub never_left: u64,
    /// How many stay in the trash, because something else is in their place.
    pub in_the_way: u64,
}

impl Registry {
    /// Puts back what a repair moved, in the order it was moved, so that no link is there before what it leads to.
    /// What somebody wrote anew meanwhile stays, and what was moved from there stays in the trash.
    ///
    /// Dropping the future ends it between two steps; it can be asked for again.
    ///
    /// # Errors
    /// [`CheckError::Written`], [`CheckError::NoSuchRepair`], or the store's.
    pub async fn undo_repair(
        &self,
        run: Uuid,
        live_server_policy: LiveServerPolicy,
        watch: &mut (dyn FnMut(UndoEvent<'_>) + Send),
    ) -> Result<UndoReport, CheckError> {
        let failed = Error::storage("read the journal of a repair");
        let mut numbers = Vec::new();
        let area = Area::TrashJournal(run).key();
        let mut listing = self.driver.list(&area).await.map_err(&failed)?;
        while let Some(entry) = listing.try_next().await.map_err(&failed)? {
            numbers.extend(layout::journal_number(&entry.name));
        }
        if numbers.is_empty() {
            return Err(CheckError::NoSuchRepair { run });
        }
        self.admit_repair(live_server_policy).await?;
        numbers.sort_unstable();
        let mut undone = UndoReport::default();
        for number in numbers {
            let journal = Place::TrashJournal { run, number }.key();
            let bytes = match self.driver.get(&journal, LINE_MAX).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue, // UndoReport beside this.
                Err(source) => return Err(failed(source).into()),
            };
            // A line that cannot be read was not written by a repair; what it speaks of stays.
            let Some((from, to)) = read_line(run, &bytes) else {
                undone.in_the_way += 1;
                watch(UndoEvent::Occupied(journal.as_str()));
                continue;
            };
            match self.put_back(&from, &to).await? {
                Back::Now => {
                    undone.back += 1;
                    watch(UndoEvent::Restored(from.as_str()));
                }
                Back::Never => undone.never_left += 1,
                Back::InTheWay => {
                    undone.in_the_way += 1;
                    watch(UndoEvent::Occupied(from.as_str()));
                    continue;
                }
            }
            self.discard(&to).await?;
            self.discard(&journal).await?;
        }
        Ok(undone)
    }

    async fn put_back(&self, from: &StorageKey, to: &StorageKey) -> Result<Back, Error> {
        let failed = Error::storage("put something back");
        let content = match self.driver.read(to, ReadRange::Full).await {
            Ok(content) => content,
            // The repair was cut off before the copy.
            Err(error) if error.is_not_found() => return Ok(Back::Never),
            Err(source) => return Err(failed(source)),
        };
        match self.driver.read(from, ReadRange::Full).await {
            Ok(there) => {
                return Ok(match same(there, content).await.map_err(&failed)? {
                    true => Back::Never,
                    false => Back::InTheWay,
                });
            }
            Err(error) if error.is_not_found() => {}
            Err(source) => return Err(failed(source)),
        }
        let content = self.driver.read(to, ReadRange::Full).await.map_err(&failed)?;
        self.duplicate(to, from, content).await.map_err(&failed)?;
        Ok(Back::Now)
    }
}

/// Where an object is after an attempt to put it back.
enum Back {
    Now,
    /// A repair that was cut off left it where it was.
    Never,
    InTheWay,
}

/// Whether two objects hold the same bytes.
async fn same(mut one: storage::Content, mut other: storage::Content) -> Result<bool, storage::Error> {
    if one.size != other.size {
        return Ok(false);
    }
    let (mut left, mut right) = (Bytes::new(), Bytes::new());
    loop {
        if left.is_empty() {
            left = one.try_next().await?.unwrap_or_default();
        }
        if right.is_empty() {
            right = other.try_next().await?.unwrap_or_default();
        }
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left.split_to(length) != right.split_to(length) {
            return Ok(false);
        }
    }
}
