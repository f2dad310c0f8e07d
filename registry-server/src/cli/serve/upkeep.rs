//! What a server does when nobody asks: it removes what interrupted writes left in the store.

use std::convert::Infallible;
use std::time::Duration;

use crate::storage::Driver;
use crate::telemetry::chain;

/// The first look is not at the start, when a whole Deployment may be starting at once.
const FIRST: Duration = Duration::from_secs(3600);
/// Time between two looks. Each walks the whole store.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// How old a leftover must be. A write of that kind takes seconds; a clock may be wrong by hours.
const AGE: Duration = Duration::from_secs(24 * 3600);

/// Sweeps from time to time, for ever. Dropping it stops that, between two files.
pub(super) async fn follow(driver: std::sync::Arc<dyn Driver>) -> Infallible {
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + FIRST, EVERY);
    loop {
        tick.tick().await;
        sweep(&*driver, AGE).await;
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

    use super::*;
    use crate::storage::{Filesystem, FilesystemOptions};

    #[tokio::test]
    async fn old_leftovers_go_and_young_ones_may_still_be_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let leftover = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            let file = std::fs::File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let old = leftover("link.1f0c6a4e-8d2b-4c7a-9e53-0a1b2c3d4e5f.tmp", AGE * 2);
        let young = leftover("link.2f0c6a4e-8d2b-4c7a-9e53-0a1b2c3d4e5f.tmp", AGE / 2);
        let other = leftover("data", AGE * 2);
        let driver = Filesystem::new(folder.path(), &FilesystemOptions::default()).unwrap();
        sweep(&driver, AGE).await;
        assert_eq!(
            (old.exists(), young.exists(), other.exists()),
            (false, true, true)
        );
    }
}
