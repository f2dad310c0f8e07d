//! Work that does not belong on the threads that serve connections, or to the connection that asked for it.

use super::{Error, hashing};

/// What is done to so many items takes about a millisecond: sorting digests, writing tags as JSON.
pub(super) const MANY: usize = 4096;

/// Does work that goes over `items` things: where it is when they are few, else on a thread for such work.
///
/// # Errors
/// [`Error::Stopping`].
pub async fn of_many<T: Send + 'static>(
    items: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if items <= MANY {
        return Ok(work());
    }
    hashing::off_thread(work).await
}
