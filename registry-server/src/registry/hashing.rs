//! Hashing away from the threads that serve connections, and hash states that outlive a process.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use registry_oci::{Algorithm, Digest, GO_STATE_LENGTH, Hasher, RepositoryName, UploadId};
use sha2::Digest as _;

use super::{Error, Registry};
use crate::storage::layout::{self, Area, Place};
use crate::storage::{Durability, Mode, ReadRange, Writer};
use crate::telemetry::request::spawn_blocking;

/// Up to this size hashing takes a few microseconds, less than handing it to another thread does.
const INLINE_MAX: usize = 16 * 1024;

/// States are saved of uploads that hold this much. Below, hashing again costs a millisecond, less than making the
/// data and one more file durable.
const SAVE_FROM: u64 = 1024 * 1024;

/// Hashes a block.
pub(super) async fn update(mut hasher: Hasher, block: Bytes) -> Result<Hasher, Error> {
    if block.len() <= INLINE_MAX {
        hasher.update(&block);
        return Ok(hasher);
    }
    off_thread(move || {
        hasher.update(&block);
        hasher
    })
    .await
}

/// The digest of a manifest's bytes.
pub(super) async fn digest(algorithm: Algorithm, bytes: &Bytes) -> Result<Digest, Error> {
    if bytes.len() <= INLINE_MAX {
        return Ok(Digest::of(algorithm, bytes));
    }
    let bytes = bytes.clone();
    off_thread(move || Digest::of(algorithm, &bytes)).await
}

pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work)
        .await
        .map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Error::Stopping,
        })
}

impl Registry {
    /// The hash over the `size` bytes an upload holds: from the state saved at exactly that size, or from the bytes
    /// themselves.
    ///
    /// A state of fewer bytes is no help. A distribution server that goes on where there was no state hashes what it
    /// gets alone and saves that under its length, a name it never asks for itself: an upload only grows, and it was
    /// already longer.
    pub(super) async fn resume_hash(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        size: u64,
    ) -> Result<Hasher, Error> {
        if size == 0 {
            return Ok(Hasher::new());
        }
        if let Some(hasher) = self.saved_hash(repository, id, size).await {
            return Ok(hasher);
        }
        let mut hasher = Hasher::new();
        let place = Place::UploadData {
            repository: repository.clone(),
            id: id.clone(),
        };
        let failed = Error::storage("read an upload");
        // One writer is open and it is ours, so nothing grows behind `size` meanwhile.
        let range = ReadRange::Between(0, size - 1);
        let mut content = self.driver.read(&place.key(), range).await.map_err(&failed)?;
        while let Some(block) = content.next().await {
            hasher = update(hasher, block.map_err(&failed)?).await?;
        }
        Ok(hasher)
    }

    async fn saved_hash(&self, repository: &RepositoryName, id: &UploadId, size: u64) -> Option<Hasher> {
        let key = state_place(repository, id, size).key();
        match self.driver.get(&key, GO_STATE_LENGTH as u64).await {
            Ok(state) => match Hasher::from_go_state(&state) {
                // A state under a wrong name would make good bytes look bad.
                Ok(hasher) if hasher.length() == size => return Some(hasher),
                Ok(_) | Err(_) => tracing::warn!(%key, "a saved hash state is not usable"),
            },
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!(%key, %error, "a saved hash state cannot be read"),
        }
        None
    }

    async fn hash_state_offsets(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<Vec<u64>, Error> {
        let failed = Error::storage("list the hash states of an upload");
        let listing = self
            .driver
            .list(&Area::UploadHashStates(repository, id).key())
            .await
            .map_err(&failed)?;
        listing
            .try_filter_map(async |entry| Ok(layout::hash_state_offset(&entry.name)))
            .try_collect()
            .await
            .map_err(failed)
    }

    /// Saves the state of a hash for whoever continues the upload, when it holds enough and more than `saved`, what
    /// it held before.
    ///
    /// The data is made durable first: a state that survives power loss must not speak of bytes that did not.
    pub(super) async fn save_hash(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        hasher: &Hasher,
        saved: u64,
        writer: &mut dyn Writer,
    ) -> Result<(), Error> {
        // Small chunks of a large upload save theirs too: without it each of them would hash everything again.
        if hasher.length() < SAVE_FROM || hasher.length() == saved {
            return Ok(());
        }
        writer
            .sync()
            .await
            .map_err(Error::storage("make an upload durable"))?;
        let place = state_place(repository, id, hasher.length());
        let state = Bytes::copy_from_slice(&hasher.to_go_state());
        self.driver
            .put(&place.key(), state, Mode::Replace, Durability::Crash)
            .await
            .map_err(Error::storage("save the hash state of an upload"))?;
        // Older states are of no use any more, and a long upload must not collect thousands.
        for offset in self.hash_state_offsets(repository, id).await? {
            if offset < hasher.length() {
                match self
                    .driver
                    .delete(&state_place(repository, id, offset).key())
                    .await
                {
                    Ok(()) => {}
                    Err(error) if error.is_not_found() => {}
                    Err(source) => {
                        return Err(Error::Storage {
                            doing: "delete an old hash state",
                            source,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The SHA-512 of what an upload holds, read back from the store.
    pub(super) async fn sha512_of_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<Digest, Error> {
        let failed = Error::storage("read an upload");
        let place = Place::UploadData {
            repository: repository.clone(),
            id: id.clone(),
        };
        let mut content = self
            .driver
            .read(&place.key(), ReadRange::Full)
            .await
            .map_err(&failed)?;
        let mut hash = sha2::Sha512::new();
        while let Some(block) = content.next().await {
            let block = block.map_err(&failed)?;
            hash = off_thread(move || hash.chain_update(&block)).await?;
        }
        Ok(Digest::from_sha512(&hash.finalize().into()))
    }
}

fn state_place(repository: &RepositoryName, id: &UploadId, offset: u64) -> Place {
    Place::UploadHashState {
        repository: repository.clone(),
        id: id.clone(),
        offset,
    }
}
