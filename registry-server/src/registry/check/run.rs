//! A check that is running: its counts, and what it does with findings.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::Stream;

use super::diagnosis::Diagnosis;
use super::error::CheckError;
use super::finding::Finding;
use super::inspector::Inspector;
use super::report::{CheckEvent, CheckOptions, CheckReport, FindingOutcome, Repair};
use super::trash::{Moved, Trash};
use crate::registry::ticker::Ticker;
use crate::registry::{Error, Registry};

/// A check that is running.
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

    /// The next result of a stream. Until it is there, `watch` is called with the progress of hashing.
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

    /// Reports the progress of payloads.
    pub(super) fn report_blobs(&mut self, part: f64) {
        self.checked.hashed = self.inspector.hashed.load(Ordering::Relaxed);
        (self.watch)(CheckEvent::Blobs(&self.checked, part));
    }

    pub(super) fn report_repositories(&mut self) {
        (self.watch)(CheckEvent::Repositories(&self.checked));
    }

    /// Handles the result of checking one object.
    pub(super) async fn handle(&mut self, look: Result<Vec<Diagnosis>, Error>) -> Result<(), CheckError> {
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

    /// An object that cannot be read is a finding. When one object after the other cannot be read, the check ends.
    pub(super) async fn unreadable(&mut self, error: Error) -> Result<(), CheckError> {
        if let Some(failed) = self.ticker.failed_too_often() {
            return Err(CheckError::Unresponsive {
                failed,
                source: error,
            });
        }
        let cause = crate::fault::chain(&error);
        self.found(Diagnosis::beyond_repair(Finding::Unreadable { cause }))
            .await;
        Ok(())
    }

    async fn found(&mut self, found: Diagnosis) {
        let Diagnosis {
            finding,
            moves,
            empty,
        } = found;
        self.checked.findings += 1;
        if self.repair == Repair::Report {
            return (self.watch)(CheckEvent::Found(&finding, FindingOutcome::Reported));
        }
        if let Some((prefix, prune_root)) = empty {
            let pruned = self.registry.driver.prune(&prefix, &prune_root).await;
            return self.report_pruned(&finding, pruned.map_err(Error::storage("remove empty folders")));
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

    /// Reports what was done with an empty folder, of which nothing can be put back.
    fn report_pruned(&mut self, finding: &Finding, pruned: Result<bool, Error>) {
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

    /// The final report.
    pub(super) fn end(mut self) -> CheckReport {
        self.checked.hashed = self.inspector.hashed.load(Ordering::Relaxed);
        self.checked.run = self.trash.run();
        self.checked
    }
}
