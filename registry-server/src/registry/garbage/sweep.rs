//! Removes what marking did not reach: first the objects that belong to manifests, then the links of blobs, then
//! payloads.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_oci::{Algorithm, Digest, RepositoryName};

use super::blocking::blocking;
use super::error::GarbageError;
use super::mark::blob_key;
use super::reachability::Reached;
use super::report::{CollectionEvent, CollectionReport, Eligible, Removal};
use super::spill::{Cursor, Key, Partitions, Record, Spill};
use crate::registry::live_servers::LiveServerPolicy;
use crate::registry::{Error, Registry};
use crate::storage::layout::{ObjectPath, PathPrefix};
use crate::storage::{Condition, Durability, OptionalExtension as _, StorageKey};

/// How many removals are under way at once.
const AT_ONCE: usize = 16;

/// How many records are read at a time.
const BATCH: usize = 1024;

/// How long the record of deletions in a repository is not written again.
const RECORD_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// How many repositories with such a record are remembered. When there are more, all are forgotten.
const RECORDED_MAX: usize = 4096;

/// The records of marking, and what to do with the garbage.
pub(super) struct SweepInput {
    pub(super) reached: Reached,
    pub(super) manifests: Spill,
    pub(super) links: Spill,
    pub(super) unreadable: Spill,
    pub(super) limit: SystemTime,
    pub(super) removal: Removal,
    pub(super) live_server_policy: LiveServerPolicy,
}

/// The repositories in which this collection recorded deletions, and when.
#[derive(Default)]
struct RecordedDeletions {
    at: HashMap<RepositoryName, Instant>,
}

/// The outcome of one object.
enum SweepOutcome {
    Removed {
        bytes: u64,
    },
    TooYoung,
    /// Somebody else removed the object.
    Gone,
    Failed(Error),
}

impl Registry {
    pub(super) async fn sweep(
        &self,
        input: SweepInput,
        collected: &mut CollectionReport,
        watch: &mut (dyn FnMut(CollectionEvent<'_>) + Send),
    ) -> Result<(), GarbageError> {
        let SweepInput {
            mut reached,
            manifests,
            links,
            unreadable,
            limit,
            removal,
            live_server_policy,
        } = input;
        // Without a live server nobody looks for the record of deletions.
        let mut recorded = match (removal, live_server_policy) {
            (Removal::Remove, LiveServerPolicy::Ignore) => Some(RecordedDeletions::default()),
            (Removal::Remove, LiveServerPolicy::Refuse) | (Removal::DryRun, _) => None,
        };
        // This check comes before anything is removed.
        let mut reader = RecordReader::new(unreadable, reached.partitions);
        let mut batch;
        loop {
            (reader, reached, batch) = reader.next(reached).await?;
            let Some(batch) = batch else { break };
            for (_, record) in batch.reached {
                if let Some((repository, digest)) = parse_unreadable_record(&record) {
                    return Err(GarbageError::Unreadable { repository, digest });
                }
            }
        }

        let mut reader = RecordReader::new(manifests, reached.partitions);
        loop {
            (reader, reached, batch) = reader.next(reached).await?;
            let Some(batch) = batch else { break };
            let paths: Vec<ObjectPath> = batch
                .garbage
                .iter()
                .filter_map(|(_, record)| parse_path_record(record))
                .collect();
            self.record_deletions(&mut recorded, paths.iter()).await?;
            let mut outcomes = stream::iter(paths)
                .map(async |path| (self.remove(&path, limit, removal).await, path))
                .buffer_unordered(AT_ONCE);
            while let Some((outcome, path)) = outcomes.next().await {
                collected.count(outcome, &path, watch);
            }
        }
        if collected.failed > 0 {
            return Ok(()); // A kept manifest must not lose its blobs.
        }

        let mut reader = RecordReader::new(links, reached.partitions);
        loop {
            (reader, reached, batch) = reader.next(reached).await?;
            let Some(batch) = batch else { break };
            let mut young = Vec::new();
            let links: Vec<(Key, ObjectPath, Digest)> = batch
                .garbage
                .iter()
                .filter_map(|(key, record)| {
                    parse_link_record(record).map(|(path, canonical)| (*key, path, canonical))
                })
                .collect();
            let paths = links.iter().map(|(_, path, _)| path);
            self.record_deletions(&mut recorded, paths).await?;
            let mut outcomes = stream::iter(links)
                .map(async |(key, path, canonical)| {
                    let outcome = match self.is_too_young(&canonical, limit).await {
                        Ok(true) => SweepOutcome::TooYoung,
                        Ok(false) => self.remove(&path, limit, removal).await,
                        Err(error) => SweepOutcome::Failed(error),
                    };
                    (key, outcome, path)
                })
                .buffer_unordered(AT_ONCE);
            while let Some((key, outcome, path)) = outcomes.next().await {
                if let SweepOutcome::TooYoung = outcome {
                    // A young link keeps its payload, however old the payload is.
                    young.push(key);
                }
                collected.count(outcome, &path, watch);
            }
            drop(outcomes);
            reached = blocking(move || reached.with(&young)).await?;
        }
        if collected.failed > 0 {
            return Ok(()); // A link must not outlive its payload.
        }
        self.sweep_blobs(reached, limit, removal, collected, watch).await
    }

    async fn sweep_blobs(
        &self,
        mut reached: Reached,
        limit: SystemTime,
        removal: Removal,
        collected: &mut CollectionReport,
        watch: &mut (dyn FnMut(CollectionEvent<'_>) + Send),
    ) -> Result<(), GarbageError> {
        let partitions = reached.partitions;
        let mut starts = Vec::new();
        for algorithm in Algorithm::ALL {
            let found = self.first_bytes(&PathPrefix::BlobStarts(algorithm)).await?;
            starts.extend(found.into_iter().map(|start| (algorithm, start)));
        }
        for partition in partitions.all() {
            let known;
            (reached, known) = blocking(move || {
                let known = reached.load(partition)?;
                Ok((reached, known))
            })
            .await?;
            let here = |start: &u8| partitions.first_bytes(partition).contains(start);
            for (algorithm, start) in starts.iter().filter(|(_, start)| here(start)) {
                let prefix = PathPrefix::Blobs(*algorithm, *start);
                let digests = self.list_digests(&prefix, *algorithm, "list blobs").await?;
                let known = &known;
                let mut outcomes = digests
                    .try_filter(|digest| std::future::ready(partitions.of(&blob_key(digest)) == partition))
                    .map(async |digest| {
                        let digest = digest?;
                        if known.contains(&blob_key(&digest)) {
                            return Ok(None);
                        }
                        let path = ObjectPath::blob_data(&digest);
                        Ok::<_, Error>(Some((self.remove(&path, limit, removal).await, path)))
                    })
                    .buffer_unordered(AT_ONCE)
                    .boxed();
                while let Some(outcome) = outcomes.try_next().await? {
                    match outcome {
                        Some((outcome, path)) => collected.count(outcome, &path, watch),
                        None => collected.blobs_kept += 1,
                    }
                }
            }
        }
        Ok(())
    }

    /// Records the repositories in which something is about to be removed, for pushes at the same time.
    async fn record_deletions(
        &self,
        recorded: &mut Option<RecordedDeletions>,
        paths: impl Iterator<Item = &ObjectPath>,
    ) -> Result<(), Error> {
        let Some(RecordedDeletions { at }) = recorded else {
            return Ok(());
        };
        for repository in paths.filter_map(ObjectPath::repository) {
            if at
                .get(repository)
                .is_some_and(|at| at.elapsed() < RECORD_INTERVAL)
            {
                continue;
            }
            self.record_deletion(repository).await?;
            if at.len() >= RECORDED_MAX {
                at.clear();
            }
            at.insert(repository.clone(), Instant::now());
        }
        Ok(())
    }

    /// Whether a payload is too young to be removed. A missing one is not. This look does not renew it.
    async fn is_too_young(&self, canonical: &Digest, limit: SystemTime) -> Result<bool, Error> {
        let key = ObjectPath::blob_data(canonical).key();
        let found = self.driver.stat_touched(&key).await.optional();
        let found = found.map_err(Error::storage("look at a blob"))?;
        Ok(found.is_some_and(|found| found.modified > limit))
    }

    async fn remove(&self, path: &ObjectPath, limit: SystemTime, removal: Removal) -> SweepOutcome {
        let (key, prune_root) = (path.key(), path.prune_root());
        let removed = match removal {
            Removal::DryRun => self
                .driver
                .stat_touched(&key)
                .await
                .map(|found| (found.modified <= limit).then_some(found)),
            Removal::Remove => {
                // A payload that reappears after a loss of power is still garbage. A link that reappears would lead
                // nowhere.
                let durability = match path {
                    ObjectPath::BlobData { .. } => Durability::Crash,
                    _ => Durability::PowerLoss,
                };
                let condition = Condition::Older(limit);
                if let Err(error) = self.invalidate_path(path).await {
                    return SweepOutcome::Failed(error);
                }
                let removed = self
                    .driver
                    .delete_if(&key, &condition, &prune_root, durability)
                    .await;
                if let Err(error) = self.invalidate_path(path).await {
                    return SweepOutcome::Failed(error);
                }
                removed
            }
        };
        match removed {
            Ok(Some(found)) => SweepOutcome::Removed { bytes: found.size },
            Ok(None) => SweepOutcome::TooYoung,
            Err(error) if error.is_not_found() => SweepOutcome::Gone,
            Err(source) => SweepOutcome::Failed(Error::storage("remove garbage")(source)),
        }
    }
}

impl CollectionReport {
    fn count(
        &mut self,
        outcome: SweepOutcome,
        path: &ObjectPath,
        watch: &mut (dyn FnMut(CollectionEvent<'_>) + Send),
    ) {
        let bytes = match outcome {
            SweepOutcome::Removed { bytes } => bytes,
            SweepOutcome::TooYoung => {
                self.too_young += 1;
                if let ObjectPath::BlobData { .. } = path {
                    self.blobs_kept += 1;
                }
                return;
            }
            SweepOutcome::Gone => return,
            SweepOutcome::Failed(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert(error);
                return;
            }
        };
        let eligible = match path.clone() {
            ObjectPath::RevisionLink { repository, digest } => {
                self.manifests_removed += 1;
                Eligible::Manifest(repository, digest)
            }
            ObjectPath::TagIndex {
                repository,
                tag,
                digest,
            } => Eligible::TagHistory(repository, tag, digest),
            ObjectPath::TagCurrent { repository, tag } => Eligible::Tag(repository, tag),
            ObjectPath::LayerLink { repository, digest } => {
                self.layers_removed += 1;
                Eligible::Layer(repository, digest)
            }
            ObjectPath::BlobData { digest } => {
                self.blobs_removed += 1;
                self.bytes_removed += bytes;
                Eligible::Blob(digest)
            }
            _ => Eligible::Index,
        };
        watch(CollectionEvent::Eligible(&eligible));
        watch(CollectionEvent::Sweeping(self));
    }
}

/// Reads records in batches, and divides each batch by whether the key is reached.
struct RecordReader {
    spill: Spill,
    partitions: Partitions,
    /// The partition that is read now.
    partition: usize,
    cursor: Cursor,
    /// The keys that are reached in the partition.
    known: Option<HashSet<Key>>,
}

/// A batch of records.
struct Batch {
    reached: Vec<Record>,
    garbage: Vec<Record>,
}

impl RecordReader {
    fn new(spill: Spill, partitions: Partitions) -> Self {
        Self {
            spill,
            partitions,
            partition: 0,
            cursor: Spill::cursor(partitions, 0),
            known: None,
        }
    }

    /// The next batch, until there are no more. Moves everything to a thread that may block.
    async fn next(mut self, reached: Reached) -> Result<(Self, Reached, Option<Batch>), GarbageError> {
        blocking(move || {
            let batch = self.read(&reached)?;
            Ok((self, reached, batch))
        })
        .await
    }

    fn read(&mut self, all: &Reached) -> io::Result<Option<Batch>> {
        while self.partitions.all().contains(&self.partition) {
            let records = self.spill.read(&mut self.cursor, BATCH)?;
            if records.is_empty() {
                self.partition += 1;
                self.known = None;
                if self.partitions.all().contains(&self.partition) {
                    self.cursor = Spill::cursor(self.partitions, self.partition);
                }
                continue;
            }
            let known = match self.known.take() {
                Some(known) => known,
                None => all.load(self.partition)?,
            };
            let (reached, garbage) = records.into_iter().partition(|(key, _)| known.contains(key));
            self.known = Some(known);
            return Ok(Some(Batch { reached, garbage }));
        }
        Ok(None)
    }
}

/// Parses the record of an object that is removed with a manifest.
fn parse_path_record(record: &[u8]) -> Option<ObjectPath> {
    let key = std::str::from_utf8(record).ok()?;
    ObjectPath::parse(&StorageKey::parse(key).ok()?)
}

/// Parses the record of a link.
fn parse_link_record(record: &[u8]) -> Option<(ObjectPath, Digest)> {
    let (key, canonical) = std::str::from_utf8(record).ok()?.split_once('\n')?;
    Some((parse_path_record(key.as_bytes())?, Digest::parse(canonical).ok()?))
}

/// Parses the record of a manifest that cannot be read.
fn parse_unreadable_record(record: &[u8]) -> Option<(RepositoryName, Digest)> {
    let (repository, digest) = std::str::from_utf8(record).ok()?.split_once('\n')?;
    Some((
        RepositoryName::parse(repository).ok()?,
        Digest::parse(digest).ok()?,
    ))
}
