//! The calls of a store for garbage collection: to touch an object that is in use, and to remove one that is not, while other
//! servers write.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Durability, Error, Metadata, StorageKey};

/// When [`Reclaim::delete_if`] removes an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The object was neither written nor touched later than this.
    Older(SystemTime),
    /// The object is small and holds these bytes.
    Holds(Bytes),
}

/// Removal of objects that may be in use.
///
/// A writer that relies on an old object touches it first. A collector removes an object only if nobody touched it since
/// the collector's limit. Whatever the order in which the two calls meet, either the object stays or the writer is told
/// [`Error::NotFound`].
#[async_trait]
pub trait Reclaim: Send + Sync {
    /// Size of an object, and the time when it was last written or touched, whichever is later.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn stat_touched(&self, key: &StorageKey) -> Result<Metadata, Error>;

    /// Makes an object, or a staged one, as young as one that is written now, for [`Reclaim::stat_touched`] and
    /// [`Reclaim::delete_if`]. [`Driver::stat`](super::Driver::stat) may give the old time.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn touch(&self, key: &StorageKey) -> Result<(), Error>;

    /// Removes one object if a condition holds. Gives the metadata of the removed object, or nothing when the condition
    /// does not hold. Prefixes that become empty are removed too, where a store has empty prefixes, up to `prune_root`,
    /// which stays.
    ///
    /// The check and the removal are one step. An object that [`Reclaim::touch`] found is not removed by a call whose
    /// limit is earlier than the touch. An object that was replaced is not removed for its old bytes, as long as the
    /// writer that replaces it calls [`Reclaim::confirm_put`]. A reader may miss an object for a moment although the
    /// condition turns out not to hold.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's own.
    async fn delete_if(
        &self,
        key: &StorageKey,
        condition: &Condition,
        prune_root: &StorageKey,
        durability: Durability,
    ) -> Result<Option<Metadata>, Error>;

    /// Whether an object that was just put is still there. A [`Reclaim::delete_if`] for the old object may have been half
    /// done when the new one was put. `false` means that it removed the new object too, which then must be put again.
    ///
    /// # Errors
    /// The store's own.
    async fn confirm_put(&self, _key: &StorageKey) -> Result<bool, Error> {
        // Where the check and the removal are one step in the store, no removal can be half done.
        Ok(true)
    }

    /// Removes the prefixes at and below `prefix` if no object lies below it, and then the empty ones above it, up to
    /// `prune_root`, which stays. A writer makes the prefixes it needs again. Gives whether the prefix is gone: always
    /// true where empty prefixes do not exist.
    ///
    /// # Errors
    /// The store's own.
    async fn prune(&self, _prefix: &StorageKey, _prune_root: &StorageKey) -> Result<bool, Error> {
        Ok(true)
    }

    /// Whether empty prefixes exist, so that [`Reclaim::prune`] does anything.
    fn keeps_empty_prefixes(&self) -> bool {
        false
    }
}
