//! Stores the body of a request: one block is hashed and stored while the next one arrives.
//!
//! Guarantees: no byte of a body waits in memory for longer than a moment, so a client that stops sending holds no
//! memory. Blocks larger than the smallest come from a budget that all requests share. When the budget is used up, an
//! upload continues in small blocks.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{join, try_join};
use futures_util::{Stream, StreamExt as _};
use registry_oci::Hasher;
use tokio::time::{Instant, timeout_at};

use super::{Error, hashing};
use crate::memory_budget::{MemoryBudget, MemoryShare};
use crate::storage::Writer;

/// The largest block that is collected before it is stored. An upload needs at most two of them: one that is being
/// stored and one that is being filled.
const BLOCK_MAX: usize = 512 * 1024;
/// The block size with which an upload begins, and to which it returns when its client is slow.
const BLOCK_FIRST: usize = 64 * 1024;
/// The block size that an upload always has, whatever the budget holds. A connection has as much for reading.
const BLOCK_MIN: usize = 16 * 1024;
/// How long the bytes of a block wait for more bytes.
const BLOCK_TIMEOUT: Duration = Duration::from_millis(250);

/// The error of a transport when a body breaks off.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that was stored.
pub(super) struct StoredBody {
    /// How many of its bytes are stored.
    pub(super) length: u64,
    /// Why it ended before its end, if it did.
    pub(super) interrupted: Option<BodyError>,
}

impl StoredBody {
    /// A body without bytes.
    pub(super) const NOTHING: Self = Self {
        length: 0,
        interrupted: None,
    };
}

/// Stores a body to its end, or to where it breaks off, and hashes the bytes that were stored.
///
/// # Errors
/// The store's. The hash and the writer may then differ and must not be used any more.
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

/// Stores and hashes a block. Its memory is free when this returns, however long the next block takes to arrive.
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
    /// The rest of the last frame, which did not fit into the block.
    rest: Bytes,
    /// The size of the next block.
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
    /// The next block. It is full, unless the client is slow or it is the last one. It is empty at the end.
    ///
    /// Frames are copied into a block. A frame is a slice of a connection's buffer and would keep all of it alive, so
    /// many small frames would hold far more memory than they have bytes.
    async fn next_block(&mut self) -> Block {
        if !self.wait_for_bytes().await {
            return Block::default();
        }
        let deadline = Instant::now() + BLOCK_TIMEOUT;
        // Small bodies get small blocks. A second frame means that the body is large.
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

    /// How large a block may become, and its share of the budget.
    fn take_share(&self) -> Option<(usize, MemoryShare)> {
        // Sizes are small constants.
        let take = |size| Some((size, self.memory.try_take(size as u32)?));
        take(self.size).or_else(|| take(BLOCK_FIRST))
    }

    /// Waits for the next bytes. Returns whether there are any.
    async fn wait_for_bytes(&mut self) -> bool {
        while self.rest.is_empty() && !self.ended {
            let next = self.body.next().await;
            self.accept(next);
        }
        !self.rest.is_empty()
    }

    /// The same until a deadline.
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
