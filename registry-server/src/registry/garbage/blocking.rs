//! Work on temporary files, on a thread that may block.

use super::error::GarbageError;
use crate::registry::offload;

/// Runs work on temporary files on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, GarbageError> {
    offload::blocking(work).await?.map_err(GarbageError::Scratch)
}
