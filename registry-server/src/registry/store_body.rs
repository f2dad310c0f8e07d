//! Taking in a body: hashing and storing one block while the next one comes in.
//!
//! Guarantees: no byte of a body waits in memory for longer than a moment, so a client that stops sending has nothing
//! held for it; blocks beyond the smallest come out of a budget that all requests share, and where it is used up an
//! upload goes on in small ones.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{join, try_join};
use futures_util::{Stream, StreamExt as _};
use registry_oci::Hasher;
use tokio::time::{Instant, timeout_at};

use super::{Error, hashing};
use crate::memory_budget::{MemoryBudget, MemoryShare};
use crate::storage::Writer;

/// The largest block that is collected before it is stored. Two of these are the most memory an upload needs: one that
/// is being stored and one that is being filled.
const BLOCK_MAX: usize = 512 * 1024;
/// The block an upload begins with, and goes back to when its client is slow.
const BLOCK_FIRST: usize = 64 * 1024;
/// The block an upload can have always, whatever the budget holds: no more than a connection has for reading.
const BLOCK_MIN: usize = 16 * 1024;
/// How long the bytes of a block wait for more.
const BLOCK_TIMEOUT: Duration = Duration::from_millis(250);

/// What a transport says when a body breaks off.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// How a body ended.
pub(super) struct StoredBody {
    /// How many bytes of it are stored.
    pub(super) length: u64,
    /// Why it ended early, if it did.
    pub(super) interrupted: Option<BodyError>,
}

impl StoredBody {
    /// Of a body without bytes.
    pub(super) const NOTHING: Self = Self {
        length: 0,
        interrupted: None,
    };
}

/// Stores a body to its end, or to where it breaks off, and hashes what was stored.
///
/// # Errors
/// The store's. The hash and the writer are then behind or ahead of each other and must not be used on.
pub(super) async fn store_body(
    memory: &MemoryBudget,
    writer: &mut dyn Writer,
    hasher: &mut Hasher,
    body: &mut (impl Stream<Item = Result<Bytes, BodyError>> + Unpin),
) -> Result<StoredBody, Error> {
    let mut reader = BlockReader {
        body,
        memory,
        rest: Bytes::new(),
        size: BLOCK_FIRST,
        ended: false,
        interrupted: None,
    };
    let mut length = 0;
    let mut block = reader.next_block().await;
    while !block.bytes.is_empty() {
        length += block.bytes.len() as u64;
        let store = store(writer, std::mem::take(hasher), block);
        let (next, stored) = join(reader.next_block(), store).await;
        *hasher = stored?;
        block = next;
    }
    Ok(StoredBody {
        length,
        interrupted: reader.interrupted,
    })
}

/// Stores and hashes a block. It is gone when this is done, however long the next one takes to come.
async fn store(writer: &mut dyn Writer, hasher: Hasher, block: Block) -> Result<Hasher, Error> {
    let stored = writer.write(block.bytes.clone());
    let hashed = hashing::update(hasher, block.bytes.clone());
    let stored = async { stored.await.map_err(Error::storage("store a part of an upload")) };
    let ((), hasher) = try_join(stored, hashed).await?;
    Ok(hasher)
}

struct BlockReader<'a, B> {
    body: &'a mut B,
    memory: &'a MemoryBudget,
    /// What of the last frame did not fit.
    rest: Bytes,
    /// How large the next block is to be.
    size: usize,
    ended: bool,
    interrupted: Option<BodyError>,
}

/// Bytes on their way to the store.
#[derive(Default)]
struct Block {
    bytes: Bytes,
    _share: MemoryShare,
}

impl<B: Stream<Item = Result<Bytes, BodyError>> + Unpin> BlockReader<'_, B> {
    /// The next block, full unless the client is slow or it is the last; empty at the end.
    ///
    /// Frames are copied together: a frame is a slice of a connection's buffer and would keep all of it alive,
    /// so that many small frames held far more memory than they have bytes.
    async fn next_block(&mut self) -> Block {
        if !self.wait_for_bytes().await {
            return Block::default();
        }
        let deadline = Instant::now() + BLOCK_TIMEOUT;
        // Small bodies get small blocks; a second frame means a big one.
        let mut limit = self.rest.len().min(BLOCK_MIN);
        let mut share = None;
        let mut block = BytesMut::with_capacity(limit);
        loop {
            let taken = self.rest.split_to(self.rest.len().min(limit - block.len()));
            block.extend_from_slice(&taken);
            drop(taken);
            if block.len() == limit && share.is_some() {
                // The client is at least as fast as the store.
                self.size = (self.size * 2).min(BLOCK_MAX);
                break;
            }
            if self.rest.is_empty() && !self.wait_until(deadline).await {
                break;
            }
            if block.len() < limit {
                continue;
            }
            limit = match self.take_share() {
                Some((size, granted)) => {
                    share = Some(granted);
                    size
                }
                None if limit < BLOCK_MIN => BLOCK_MIN,
                None => break,
            };
            block.reserve(limit - block.len());
        }
        Block {
            bytes: block.freeze(),
            _share: share.unwrap_or_default(),
        }
    }

    /// How large a block may become, with its share of the budget.
    fn take_share(&self) -> Option<(usize, MemoryShare)> {
        // Sizes are small constants.
        let take = |size| Some((size, self.memory.try_take(size as u32)?));
        take(self.size).or_else(|| take(BLOCK_FIRST))
    }

    /// Waits for the next bytes; tells whether there are any.
    async fn wait_for_bytes(&mut self) -> bool {
        while self.rest.is_empty() && !self.ended {
            let next = self.body.next().await;
            self.accept(next);
        }
        !self.rest.is_empty()
    }

    /// The same for a while.
    async fn wait_until(&mut self, deadline: Instant) -> bool {
        while self.rest.is_empty() && !self.ended {
            match timeout_at(deadline, self.body.next()).await {
                Ok(next) => self.accept(next),
                Err(_) => {
                    self.size = BLOCK_FIRST;
                    return false;
                }
            }
        }
        !self.rest.is_empty()
    }

    fn accept(&mut self, next: Option<Result<Bytes, BodyError>>) {
        match next {
            Some(Ok(frame)) => self.rest = frame,
            Some(Err(error)) => {
                self.interrupted = Some(error);
                self.ended = true;
            }
            None => self.ended = true,
        }
    }
}

#[cfg(test)]
mod tests;
