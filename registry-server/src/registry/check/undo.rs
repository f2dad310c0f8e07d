//! Undoes a repair: puts the objects that it moved to the trash back.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::error::CheckError;
use super::trash::{LINE_MAX, read_line};
use crate::registry::live_servers::LiveServerPolicy;
use crate::registry::{Error, Registry};
use crate::storage::layout::{self, ObjectPath, PathPrefix};
use crate::storage::{self, OptionalExtension as _, ReadRange, StorageKey};

/// An event of undoing a repair.
#[derive(Debug)]
pub enum UndoEvent<'a> {
    /// The object is in its place again.
    Restored(&'a str),
    /// Another object is in its place, so it stays in the trash.
    Occupied(&'a str),
}

/// The report of undoing a repair.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct UndoReport {
    /// How many objects were put back.
    pub back: u64,
    /// How many objects had never left their place.
    pub never_left: u64,
    /// How many objects stay in the trash, because another object is in their place.
    pub in_the_way: u64,
}

impl Registry {
    /// Puts back the objects that a repair moved, in the order in which it moved them, so that no link exists before
    /// its payload. An object that somebody wrote again meanwhile stays, and the moved one stays in the trash.
    ///
    /// Dropping the future ends it between two steps, and it can be run again.
    ///
    /// # Errors
    /// [`CheckError::LiveServers`], [`CheckError::NoSuchRepair`], or the store's.
    pub async fn undo_repair(
        &self,
        run: Uuid,
        live_server_policy: LiveServerPolicy,
        watch: &mut (dyn FnMut(UndoEvent<'_>) + Send),
    ) -> Result<UndoReport, CheckError> {
        let failed = Error::storage("read the journal of a repair");
        let mut numbers = Vec::new();
        let prefix = PathPrefix::TrashJournal(run).key();
        let mut listing = self.driver.list(&prefix).await.map_err(&failed)?;
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
            let journal = ObjectPath::TrashJournal { run, number }.key();
            let bytes = match self.driver.get(&journal, LINE_MAX).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue, // Another undo was faster.
                Err(source) => return Err(failed(source).into()),
            };
            // A line that cannot be parsed was not written by a repair; its object stays.
            let Some((from, to)) = read_line(run, &bytes) else {
                undone.in_the_way += 1;
                watch(UndoEvent::Occupied(journal.as_str()));
                continue;
            };
            match self.put_back(&from, &to).await? {
                PutBack::Now => {
                    undone.back += 1;
                    watch(UndoEvent::Restored(from.as_str()));
                }
                PutBack::Never => undone.never_left += 1,
                PutBack::InTheWay => {
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

    async fn put_back(&self, from: &StorageKey, to: &StorageKey) -> Result<PutBack, Error> {
        let failed = Error::storage("put an object back");
        let content = self.driver.read(to, ReadRange::Full).await.optional();
        let Some(content) = content.map_err(&failed)? else {
            // The repair was interrupted before the copy.
            return Ok(PutBack::Never);
        };
        let there = self.driver.read(from, ReadRange::Full).await.optional();
        if let Some(there) = there.map_err(&failed)? {
            return Ok(match same_bytes(there, content).await.map_err(&failed)? {
                true => PutBack::Never,
                false => PutBack::InTheWay,
            });
        }
        let content = self.driver.read(to, ReadRange::Full).await.map_err(&failed)?;
        self.copy_object(to, from, content).await.map_err(&failed)?;
        Ok(PutBack::Now)
    }
}

/// The result of putting an object back.
enum PutBack {
    Now,
    /// A repair that was interrupted left it in its place.
    Never,
    InTheWay,
}

/// Whether two objects hold the same bytes.
async fn same_bytes(mut one: storage::Content, mut other: storage::Content) -> Result<bool, storage::Error> {
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
