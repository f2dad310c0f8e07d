//! The maintenance that a server does by itself: it removes abandoned uploads and the leftovers of interrupted writes.

use std::convert::Infallible;
use std::time::Duration;

use rand::Rng as _;
use registry_config::model::Maintenance;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::fault::chain;
use crate::registry::{PurgeMode, PurgeReport, Registry};
use crate::storage::Driver;

/// The first run is not at the start, when a whole Deployment may start at once.
const FIRST_AFTER: Duration = Duration::from_secs(3600);
/// The time between two sweeps of leftovers. Each sweep walks the whole store.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);
/// The minimum age of a leftover. Such a write takes seconds, but a clock may be wrong by hours.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// The age, interval and mode of upload purging (`storage.maintenance.uploadpurging`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PurgeSchedule {
    age: Duration,
    interval: Duration,
    purge: PurgeMode,
}

impl PurgeSchedule {
    /// The schedule of a configuration; nothing if purging is switched off. A read-only registry never purges, because it
    /// changes nothing in its store.
    pub(super) fn of(maintenance: &Maintenance) -> Option<Self> {
        let purging = &maintenance.uploadpurging;
        let off = maintenance.is_read_only() || purging.enabled == Some(false);
        (!off).then(|| Self {
            age: purging.age(),
            interval: purging.interval(),
            purge: match purging.dryrun {
                Some(true) => PurgeMode::DryRun,
                Some(false) | None => PurgeMode::Remove,
            },
        })
    }
}

/// Purges abandoned uploads at each interval, for ever. Dropping the future stops it between two uploads.
pub(super) async fn purge_uploads_periodically(registry: Registry, schedule: PurgeSchedule) -> Infallible {
    // The first run is at a random time, so that replicas that start together do not all walk the store at once.
    let first = schedule.interval.min(FIRST_AFTER).mul_f64(rand::rng().random());
    let mut tick = interval_at(Instant::now() + first, schedule.interval);
    // A purge may take longer than the interval. The next one then still waits a whole interval.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        purge(&registry, schedule).await;
    }
}

async fn purge(registry: &Registry, schedule: PurgeSchedule) {
    let purged = match registry.purge_uploads(schedule.age, schedule.purge).await {
        Ok(purged) => purged,
        Err(error) => {
            tracing::warn!(error = chain(&error), "cannot purge uploads");
            return;
        }
    };
    let PurgeReport {
        uploads,
        bytes,
        open,
        failed,
        first_failure,
    } = purged;
    match (uploads, schedule.purge) {
        (0, _) => tracing::debug!(open, failed, "no abandoned uploads"),
        (_, PurgeMode::Remove) => tracing::info!(uploads, bytes, open, failed, "removed abandoned uploads"),
        (_, PurgeMode::DryRun) => tracing::info!(
            uploads,
            bytes,
            failed,
            "abandoned uploads would be removed without `storage.maintenance.uploadpurging.dryrun`"
        ),
    }
    if let Some(error) = first_failure {
        tracing::warn!(
            failed,
            error = chain(&error),
            "some uploads could not be purged; the first error is shown"
        );
    }
}

/// Removes the leftovers of interrupted writes once a day, for ever. Dropping the future stops it between two files.
pub(super) async fn sweep_leftovers_periodically(driver: std::sync::Arc<dyn Driver>) -> Infallible {
    let mut tick = interval_at(Instant::now() + FIRST_AFTER, SWEEP_EVERY);
    loop {
        tick.tick().await;
        sweep(&*driver, LEFTOVER_AGE).await;
    }
}

async fn sweep(driver: &dyn Driver, age: Duration) {
    match driver.sweep(age).await {
        Ok(swept) if swept.objects == 0 => tracing::debug!("no leftovers of interrupted writes"),
        Ok(swept) => {
            tracing::info!(
                files = swept.objects,
                bytes = swept.bytes,
                "removed leftovers of interrupted writes"
            );
        }
        Err(error) => tracing::warn!(
            error = chain(&error),
            "cannot remove leftovers of interrupted writes"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use registry_config::model::{ReadOnly, UploadPurging};

    use super::*;
    use crate::storage::{Filesystem, FilesystemOptions};

    #[test]
    fn uploads_are_purged_unless_switched_off_or_read_only() {
        let of = |readonly: Option<bool>, enabled: Option<bool>, dryrun: Option<bool>| {
            let uploadpurging = UploadPurging {
                enabled,
                dryrun,
                ..UploadPurging::default()
            };
            let readonly = ReadOnly { enabled: readonly };
            PurgeSchedule::of(&Maintenance {
                readonly,
                uploadpurging,
                owner: None,
            })
        };
        let schedule = |purge| {
            Some(PurgeSchedule {
                age: Duration::from_secs(168 * 3600),
                interval: Duration::from_secs(24 * 3600),
                purge,
            })
        };
        for (given, expected) in [
            (of(None, None, None), schedule(PurgeMode::Remove)),
            (
                of(Some(false), Some(true), Some(false)),
                schedule(PurgeMode::Remove),
            ),
            (of(None, None, Some(true)), schedule(PurgeMode::DryRun)),
            (of(None, Some(false), None), None),
            (of(Some(true), None, None), None),
            (of(Some(true), Some(true), Some(true)), None),
        ] {
            assert_eq!(given, expected);
        }
    }

    #[tokio::test]
    async fn old_leftovers_go_and_young_ones_may_still_be_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let leftover = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            let file = std::fs::File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let old = leftover("link.1f0c6a4e-8d2b-4c7a-9e53-0a1b2c3d4e5f.tmp", LEFTOVER_AGE * 2);
        let young = leftover("link.2f0c6a4e-8d2b-4c7a-9e53-0a1b2c3d4e5f.tmp", LEFTOVER_AGE / 2);
        let other = leftover("data", LEFTOVER_AGE * 2);
        let driver = Filesystem::new(folder.path(), &FilesystemOptions::default()).unwrap();
        sweep(&driver, LEFTOVER_AGE).await;
        assert_eq!(
            (old.exists(), young.exists(), other.exists()),
            (false, true, true)
        );
    }
}
