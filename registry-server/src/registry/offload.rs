//! Work that does not belong on the threads that serve connections, or to the connection that asked for it.

use super::Error;
use crate::task::join;
use crate::telemetry::request::{spawn, spawn_blocking};

/// Work on so many items takes about a millisecond: sorting digests, writing tags as JSON.
pub(super) const MANY: usize = 4096;

/// Does work on so many items: on the calling thread when they are few, otherwise on a thread that may block.
///
/// # Errors
/// [`Error::Stopping`].
pub async fn by_count<T: Send + 'static>(
    items: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if items <= MANY {
        return Ok(work());
    }
    blocking(work).await
}

/// Does work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    join(spawn_blocking(work)).await.ok_or(Error::Stopping)
}

/// Runs work to its end even when nobody waits for it any more. A connection that breaks drops the future that serves
/// it, and what the client had sent must still reach the store.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    join(spawn(work)).await.unwrap_or(Err(Error::Stopping))
}
