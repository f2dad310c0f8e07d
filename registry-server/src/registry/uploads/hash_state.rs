//! Hash states of uploads that are appended to a file: a state outlives the process that computed it.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use registry_oci::{Digest, GO_STATE_LENGTH, Hasher, RepositoryName, UploadId};
use sha2::Digest as _;

use crate::registry::{Error, Registry, hashing, offload};
use crate::storage::layout::{self, ObjectPath, PathPrefix};
use crate::storage::{Durability, Mode, OptionalExtension as _, ReadRange, Writer};

/// The size from which the states of uploads are saved. For smaller uploads, hashing again costs a millisecond, less
/// than making the data and one more file durable.
const SAVE_FROM: u64 = 1024 * 1024;

impl Registry {
    /// The hash over the first `size` bytes of an upload: from the state that was saved at exactly that size, or from
    /// the bytes themselves.
    ///
    /// A state of fewer bytes is of no use. A distribution server that continues an upload without a state hashes only
    /// the new bytes, and saves that state under their number. It never reads that state itself, because an upload only
    /// grows, and this one was already longer.
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
        let path = ObjectPath::upload_data(repository, id);
        let failed = Error::storage("read an upload");
        // Only our own writer is open, so no bytes are appended behind `size` meanwhile.
        let range = ReadRange::Between(0, size - 1);
        let mut content = self.driver.read(&path.key(), range).await.map_err(&failed)?;
        while let Some(block) = content.next().await {
            hasher = hashing::update(hasher, block.map_err(&failed)?).await?;
        }
        Ok(hasher)
    }

    async fn saved_hash(&self, repository: &RepositoryName, id: &UploadId, size: u64) -> Option<Hasher> {
        let key = ObjectPath::upload_hash_state(repository, id, size).key();
        match self.driver.get(&key, GO_STATE_LENGTH as u64).await {
            Ok(state) => match Hasher::from_go_state(&state) {
                // A state under a wrong name would make good bytes look damaged.
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
            .list(&PathPrefix::UploadHashStates(repository, id).key())
            .await
            .map_err(&failed)?;
        listing
            .try_filter_map(async |entry| Ok(layout::hash_state_offset(&entry.name)))
            .try_collect()
            .await
            .map_err(failed)
    }

    /// Saves the state of a hash for the next request, if it covers enough bytes and more than `saved`, the number that
    /// it covered before.
    ///
    /// The data is made durable first: a state that survives a loss of power must not cover bytes that did not.
    pub(super) async fn save_hash(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        hasher: &Hasher,
        saved: u64,
        writer: &mut dyn Writer,
    ) -> Result<(), Error> {
        // Small chunks of a large upload save their state too. Otherwise each of them would hash everything again.
        if hasher.length() < SAVE_FROM || hasher.length() == saved {
            return Ok(());
        }
        writer
            .sync()
            .await
            .map_err(Error::storage("make an upload durable"))?;
        let path = ObjectPath::upload_hash_state(repository, id, hasher.length());
        let state = Bytes::copy_from_slice(&hasher.to_go_state());
        self.driver
            .put(&path.key(), state, Mode::Replace, Durability::Crash)
            .await
            .map_err(Error::storage("save the hash state of an upload"))?;
        // Older states are of no use, and a long upload must not collect thousands of them.
        for offset in self.hash_state_offsets(repository, id).await? {
            if offset < hasher.length() {
                let old = ObjectPath::upload_hash_state(repository, id, offset).key();
                self.driver
                    .delete(&old)
                    .await
                    .optional()
                    .map_err(Error::storage("delete an old hash state"))?;
            }
        }
        Ok(())
    }

    /// The SHA-512 of an upload, whose bytes are read back from the store.
    pub(super) async fn sha512_of_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<Digest, Error> {
        let failed = Error::storage("read an upload");
        let path = ObjectPath::upload_data(repository, id);
        let mut content = self
            .driver
            .read(&path.key(), ReadRange::Full)
            .await
            .map_err(&failed)?;
        let mut hash = sha2::Sha512::new();
        while let Some(block) = content.next().await {
            let block = block.map_err(&failed)?;
            hash = offload::blocking(move || hash.chain_update(&block)).await?;
        }
        Ok(Digest::from_sha512(&hash.finalize().into()))
    }
}
