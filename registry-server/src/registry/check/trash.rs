//! The trash: a repair moves broken objects there.
//!
//! Each repair has a folder of its own in the trash, named by a UUID that grows with time. Below `objects`, each moved
//! object has its old key. Below `journal`, one object with one line of JSON describes each move.
//!
//! The order of a move is: the line of the journal, the copy, the removal; each durable before the next. Wherever it is
//! interrupted, the object is in its place, or in the trash with a line that says where it belongs, or both.

use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::diagnosis::Move;
use super::finding::Finding;
use crate::registry::live_servers::LiveServerPolicy;
use crate::registry::{Error, Registry};
use crate::storage::layout::ObjectPath;
use crate::storage::{
    self, Condition, Durability, LargeWrite, Mode, OptionalExtension as _, ReadRange, StorageKey, put_stream,
};

/// A line is never this long.
pub(super) const LINE_MAX: u64 = 64 * 1024;

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct JournalLine {
    version: u32,
    /// When the object was moved.
    at: Timestamp,
    /// The kind of the finding.
    kind: String,
    /// The finding's sentence.
    why: String,
    /// The key at which it was.
    from: String,
    /// The key in the trash.
    to: String,
    size: u64,
}

const VERSION: u32 = 1;

/// The result of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    Yes,
    /// Somebody wrote the object again, or removed it.
    No,
}

/// The trash of one repair. It writes nothing before the first move.
pub(super) struct Trash<'a> {
    registry: &'a Registry,
    run: Uuid,
    moves: u64,
    /// Whether servers may be writing.
    live_server_policy: LiveServerPolicy,
}

impl<'a> Trash<'a> {
    pub(super) fn new(registry: &'a Registry, live_server_policy: LiveServerPolicy) -> Self {
        Self {
            registry,
            live_server_policy,
            run: Uuid::now_v7(),
            moves: 0,
        }
    }

    /// The id of the repair, if it moved anything.
    pub(super) fn run(&self) -> Option<Uuid> {
        (self.moves > 0).then_some(self.run)
    }

    /// Moves an object to the trash.
    pub(super) async fn take(&mut self, object: &Move, finding: &Finding) -> Result<Moved, Error> {
        let Move {
            path,
            seen,
            prune_root,
        } = object;
        let driver = &self.registry.driver;
        let failed = Error::storage("move an object to the trash");
        let key = path.key();
        let content = match driver.read(&key, ReadRange::Full).await {
            Ok(content) if content.modified > *seen => return Ok(Moved::No),
            Ok(content) => content,
            Err(error) if error.is_not_found() => return Ok(Moved::No),
            Err(source) => return Err(failed(source)),
        };
        let target = ObjectPath::Trashed {
            run: self.run,
            was: Box::new(path.clone()),
        }
        .key();
        let line = JournalLine {
            version: VERSION,
            at: Timestamp::now(),
            kind: finding.kind().to_owned(),
            why: finding.to_string(),
            from: key.to_string(),
            to: target.to_string(),
            size: content.size,
        };
        let mut text = serde_json::to_vec(&line).expect("a line has string keys only and is always JSON");
        text.push(b'\n');
        let journal = ObjectPath::TrashJournal {
            run: self.run,
            number: self.moves,
        };
        driver
            .put(&journal.key(), text.into(), Mode::Create, Durability::PowerLoss)
            .await
            .map_err(&failed)?;
        self.moves += 1;
        self.registry
            .copy_object(&key, &target, content)
            .await
            .map_err(&failed)?;
        // An object that was renewed meanwhile may as well have been written again; the next repair finds out.
        let condition = Condition::Older(*seen);
        if let (LiveServerPolicy::Ignore, Some(repository)) = (self.live_server_policy, path.repository()) {
            self.registry.record_deletion(repository).await?;
        }
        self.registry.invalidate_path(path).await?;
        let removed = driver
            .delete_if(&key, &condition, prune_root, Durability::PowerLoss)
            .await;
        self.registry.invalidate_path(path).await?;
        match removed {
            Ok(Some(_)) => Ok(Moved::Yes),
            // The object was written again while it was copied, so the copy is removed.
            Ok(None) => self.drop_copy(&journal, &target).await.map(|()| Moved::No),
            Err(error) if error.is_not_found() => self.drop_copy(&journal, &target).await.map(|()| Moved::No),
            Err(source) => Err(failed(source)),
        }
    }

    async fn drop_copy(&self, journal: &ObjectPath, target: &StorageKey) -> Result<(), Error> {
        for key in [target, &journal.key()] {
            self.registry.discard(key).await?;
        }
        Ok(())
    }
}

impl Registry {
    /// Copies an opened object to another key; within the store, where the store can do that.
    pub(super) async fn copy_object(
        &self,
        from: &StorageKey,
        to: &StorageKey,
        content: storage::Content,
    ) -> Result<(), storage::Error> {
        match self.driver.large_write() {
            LargeWrite::Multipart(store) => store.copy(from, to, content.size).await,
            LargeWrite::Append(_) => {
                let size = content.size;
                put_stream::put(&*self.driver, to, size, content).await
            }
        }
    }

    /// Removes an object from the trash, and the folders that become empty.
    pub(super) async fn discard(&self, key: &StorageKey) -> Result<(), Error> {
        let any = Condition::Older(SystemTime::now() + std::time::Duration::from_secs(24 * 3600));
        let prune_root = ObjectPath::TrashJournal {
            run: Uuid::nil(),
            number: 0,
        }
        .prune_root();
        self.driver
            .delete_if(key, &any, &prune_root, Durability::PowerLoss)
            .await
            .optional()
            .map(drop)
            .map_err(Error::storage("remove an object from the trash"))
    }
}

/// The keys in a line, if it is a line of this run.
pub(super) fn read_line(run: Uuid, bytes: &Bytes) -> Option<(StorageKey, StorageKey)> {
    let line: JournalLine = serde_json::from_slice(bytes).ok()?;
    let from = StorageKey::parse(&line.from).ok()?;
    let to = StorageKey::parse(&line.to).ok()?;
    let was = Box::new(ObjectPath::parse(&from)?);
    (line.version == VERSION && ObjectPath::Trashed { run, was }.key() == to).then_some((from, to))
}
