//! Taking manifests apart, away from the threads that serve connections and only so many large ones at once.
//!
//! A document of 4 MiB that is made of small annotations becomes 25 MB of maps, and whoever may pull can ask for it
//! thirty times at once: without turns that was 850 MB.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use registry_oci::{Manifest, MediaType};
use tokio::sync::OwnedSemaphorePermit;

use super::{Error, Registry, hashing};

/// Up to this size a document is taken apart where it is: a fraction of a millisecond, and little memory.
const SMALL: usize = 64 * 1024;

/// How many larger ones are in memory at once.
pub(super) const AT_ONCE: usize = 4;

/// A manifest taken apart. A large one keeps its turn until it is dropped, so whoever holds one must not ask for
/// another.
pub(super) struct Parsed {
    /// Taken out when this is dropped, and not before.
    manifest: Option<Arc<Manifest>>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Parsed {
    /// Another handle of it, for another thread.
    pub(super) fn share(&self) -> Arc<Manifest> {
        Arc::clone(self.manifest.as_ref().expect("it is taken out by `drop` alone"))
    }
}

impl Drop for Parsed {
    /// A map of hundreds of thousands of annotations takes long to take down, so a large one goes on another thread.
    fn drop(&mut self) {
        let (manifest, turn) = (self.manifest.take(), self.turn.take());
        if turn.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop((manifest, turn)));
        }
    }
}

impl Deref for Parsed {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        self.manifest.as_ref().expect("it is taken out by `drop` alone")
    }
}

impl Registry {
    /// Looks into a document that was sent as `declared`, or into a stored one, which may be of another server's making. The outer error is the server's, the inner one
    /// the document's.
    pub(super) async fn parse_manifest(
        &self,
        bytes: &Bytes,
        declared: Option<&MediaType>,
    ) -> Result<Result<Parsed, registry_oci::Error>, Error> {
        if bytes.len() <= SMALL {
            let parsed = look_into(bytes, declared);
            return Ok(parsed.map(|manifest| Parsed {
                manifest: Some(Arc::new(manifest)),
                turn: None,
            }));
        }
        let turn = Arc::clone(&self.parsing)
            .acquire_owned()
            .await
            .map_err(|_| Error::Stopping)?;
        let (bytes, declared) = (bytes.clone(), declared.cloned());
        hashing::off_thread(move || {
            look_into(&bytes, declared.as_ref()).map(|manifest| Parsed {
                manifest: Some(Arc::new(manifest)),
                turn: Some(turn),
            })
        })
        .await
    }
}

fn look_into(bytes: &[u8], declared: Option<&MediaType>) -> Result<Manifest, registry_oci::Error> {
    match declared {
        Some(_) => Manifest::parse(bytes, declared),
        None => Manifest::of_stored(bytes),
    }
}
