//! Parsing of manifests, away from the threads that serve connections, and only a few large ones at once.
//!
//! A document of 4 MiB that is made of small annotations becomes 25 MB of maps. Anybody who may pull can ask for it
//! thirty times at once: without a limit that took 850 MB.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use registry_oci::{MANIFEST_MAX, Manifest, MediaType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, offload};

/// Stored manifests may be larger than what is accepted today: other servers had other limits.
pub(super) const STORED_MAX: u64 = 4 * MANIFEST_MAX as u64;

/// Up to this size a document is parsed on the calling thread: it takes a fraction of a millisecond, and little memory.
const SMALL: usize = 64 * 1024;

/// How many larger manifests are in memory at once.
pub(super) const AT_ONCE: usize = 4;

/// Parses manifests. A clone shares the limit.
#[derive(Debug, Clone)]
pub(super) struct ManifestParser {
    pub(super) permits: Arc<Semaphore>,
}

impl Default for ManifestParser {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

/// A parsed manifest. A large one keeps its permit until it is dropped, so its holder must not parse another one.
pub(super) struct ParsedManifest {
    /// Taken out when this is dropped, and not before.
    manifest: Option<Arc<Manifest>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ParsedManifest {
    /// Another handle of the manifest, for another thread.
    pub(super) fn share(&self) -> Arc<Manifest> {
        Arc::clone(self.manifest.as_ref().expect("it is taken out by `drop` alone"))
    }
}

impl Drop for ParsedManifest {
    /// Dropping a map of hundreds of thousands of annotations takes long, so a large manifest is dropped on another
    /// thread.
    fn drop(&mut self) {
        let (manifest, permit) = (self.manifest.take(), self.permit.take());
        if permit.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop((manifest, permit)));
        }
    }
}

impl Deref for ParsedManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        self.manifest.as_ref().expect("it is taken out by `drop` alone")
    }
}

impl ManifestParser {
    /// Parses a document that was sent as `declared`, or a stored one, which another server may have accepted.
    ///
    /// # Errors
    /// The error that `invalid` makes of the document's error, or [`Error::Stopping`].
    pub(super) async fn parse(
        &self,
        bytes: &Bytes,
        declared: Option<&MediaType>,
        invalid: impl FnOnce(registry_oci::Error) -> Error,
    ) -> Result<ParsedManifest, Error> {
        if bytes.len() <= SMALL {
            let manifest = parse(bytes, declared).map_err(invalid)?;
            return Ok(ParsedManifest {
                manifest: Some(Arc::new(manifest)),
                permit: None,
            });
        }
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Error::Stopping)?;
        let (bytes, declared) = (bytes.clone(), declared.cloned());
        let parsed = offload::blocking(move || {
            parse(&bytes, declared.as_ref()).map(|manifest| ParsedManifest {
                manifest: Some(Arc::new(manifest)),
                permit: Some(permit),
            })
        });
        parsed.await?.map_err(invalid)
    }
}

fn parse(bytes: &[u8], declared: Option<&MediaType>) -> Result<Manifest, registry_oci::Error> {
    match declared {
        Some(_) => Manifest::parse(bytes, declared),
        None => Manifest::of_stored(bytes),
    }
}
