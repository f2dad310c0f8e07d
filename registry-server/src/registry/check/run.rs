//! A check under way: what was counted, what is known to be damaged, and what becomes of a finding.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use futures_util::Stream;

use super::inspector::Inspector;
use super::trash::{Moved, Trash};
use super::{CheckError, CheckEvent, CheckOptions, CheckReport, Finding, FindingOutcome, Repair};
use crate::registry::ticker::Ticker;
use crate::registry::{Error, Registry};
use crate::storage::StorageKey;
use crate::storage::layout::Place;

/// Something that is broken, and what to move to mend that, in this order.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) finding: Finding,
    pub(super) moves: Vec<Move>,
    /// A prefix that is what is wrong although nothing lies below it, and what stays of the folders above it.
    pub(super) empty: Option<(StorageKey, StorageKey)>,
}

impl Found {
    /// What no move mends.
    pub(super) fn beyond_repair(finding: Finding) -> Self {
        Self::with(finding, Vec::new())
    }

    /// What is mended by moving some objects, in this order.
    pub(super) fn with(finding: Finding, moves: Vec<Move>) -> Self {
        Self {
            finding,
            moves,
            empty: None,
        }
    }

    /// What is mended by removing a prefix below which nothing lies.
    pub(super) fn empty(finding: Finding, prefix: StorageKey, shelf: StorageKey) -> Self {
        Self {
            empty: Some((prefix, shelf)),
            ..Self::beyond_repair(finding)
        }
    }

    /// What is mended by moving one object.
    pub(super) fn at(finding: Finding, place: Place, seen: SystemTime) -> Self {
        Self::with(finding, vec![Move::new(place, seen)])
    }
}

/// An object to be moved, unless it was written later than it was looked at.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) place: Place,
    pub(super) seen: SystemTime,
    /// What stays of the folders above it.
    pub(super) shelf: StorageKey,
}

impl Move {
    pub(super) fn new(place: Place, seen: SystemTime) -> Self {
        let shelf = place.shelf();
        Self { place, seen, shelf }
    }
}

/// A check under way.
pub(super) struct CheckRun<'a> {
    pub(super) registry: &'a Registry,
    pub(super) inspector: Arc<Inspector<'a>>,
    pub(super) checked: CheckReport,
    repair: Repair,
    watch: &'a mut (dyn FnMut(CheckEvent<'_>) + Send),
    trash: Trash<'a>,
    ticker: Ticker,
}

impl<'a> CheckRun<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        checking: CheckOptions,
        watch: &'a mut (dyn FnMut(CheckEvent<'_>) + Send),
    ) -> Self {
        Self {
            registry,
            inspector: Arc::new(Inspector::new(registry, checking.digests)),
            checked: CheckReport::default(),
            repair: checking.repair,
            watch,
            trash: Trash::new(registry, checking.live_server_policy),
            ticker: Ticker::new(),
        }
    }

    /// The next of some looks; while it takes, `watch` hears how far hashing is.
    pub(super) async fn next<T>(
        &mut self,
        looks: &mut (impl Stream<Item = T> + Unpin),
        part: f64,
    ) -> Option<T> {
        let Self {
            ticker,
            checked,
            inspector,
            watch,
            ..
        } = self;
        let say = || {
            checked.hashed = inspector.hashed.load(Ordering::Relaxed);
            watch(CheckEvent::Blobs(checked, part));
        };
        ticker.next(looks, say).await
    }

    /// Says how far payloads are.
    pub(super) fn report_blobs(&mut self, part: f64) {
        self.checked.hashed = self.inspector.hashed.load(Ordering::Relaxed);
        (self.watch)(CheckEvent::Blobs(&self.checked, part));
    }

    pub(super) fn report_repositories(&mut self) {
        (self.watch)(CheckEvent::Repositories(&self.checked));
    }

    /// Deals with what a look gave.
    pub(super) async fn handle(&mut self, look: Result<Vec<Found>, Error>) -> Result<(), CheckError> {
        match look {
            Ok(found) => {
                self.ticker.succeeded();
                for found in found {
                    self.found(found).await;
                }
                Ok(())
            }
            Err(error) => self.unreadable(error).await,
        }
    }

    /// One object that cannot be looked at does not keep the others; a store that gives nothing away does.
    pub(super) async fn unreadable(&mut self, error: Error) -> Result<(), CheckError> {
        if let Some(failed) = self.ticker.failed_too_often() {
            return Err(CheckError::Unresponsive {
                failed,
                source: error,
            });
        }
        let cause = crate::fault::chain(&error);
        self.found(Found::beyond_repair(Finding::Unreadable { cause }))
            .await;
        Ok(())
    }

    async fn found(&mut self, found: Found) {
        let Found {
            finding,
            moves,
            empty,
        } = found;
        self.checked.findings += 1;
        if self.repair == Repair::Report {
            return (self.watch)(CheckEvent::Found(&finding, FindingOutcome::Reported));
        }
        if let Some((prefix, shelf)) = empty {
            let pruned = self.registry.driver.prune(&prefix, &shelf).await;
            return self.emptied(&finding, pruned.map_err(Error::storage("remove empty folders")));
        }
        if moves.is_empty() {
            return (self.watch)(CheckEvent::Found(&finding, FindingOutcome::Left));
        }
        let mut moved = 0;
        for object in &moves {
            match self.trash.take(object, &finding).await {
                Ok(Moved::Yes) => moved += 1,
                Ok(Moved::No) => {}
                Err(error) => {
                    self.checked.failed += 1;
                    (self.watch)(CheckEvent::Found(&finding, FindingOutcome::Failed(&error)));
                    self.checked.first_failure.get_or_insert(error);
                    return;
                }
            }
        }
        self.checked.moved += moved;
        let outcome = match moved {
            0 => {
                self.checked.changed += 1;
                FindingOutcome::Changed
            }
            _ => {
                self.checked.repaired += 1;
                FindingOutcome::Moved
            }
        };
        (self.watch)(CheckEvent::Found(&finding, outcome));
    }

    /// Says what became of a folder that held nothing. There is nothing of it to put back.
    fn emptied(&mut self, finding: &Finding, pruned: Result<bool, Error>) {
        match pruned {
            Ok(true) => {
                self.checked.repaired += 1;
                (self.watch)(CheckEvent::Found(finding, FindingOutcome::Moved));
            }
            Ok(false) => {
                self.checked.changed += 1;
                (self.watch)(CheckEvent::Found(finding, FindingOutcome::Changed));
            }
            Err(error) => {
                self.checked.failed += 1;
                (self.watch)(CheckEvent::Found(finding, FindingOutcome::Failed(&error)));
                self.checked.first_failure.get_or_insert(error);
            }
        }
    }

    /// What was found.
    pub(super) fn end(mut self) -> CheckReport {
        self.checked.hashed = self.inspector.hashed.load(Ordering::Relaxed);
        self.checked.run = self.trash.run();
        self.checked
    }
}
