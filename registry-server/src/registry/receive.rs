//! Taking in a body: hashing and storing one block while the next one comes in.

use bytes::{Bytes, BytesMut};
use futures_util::future::{join, try_join};
use futures_util::{Stream, StreamExt as _};
use registry_oci::Hasher;

use super::{Error, hashing};
use crate::storage::Writer;

/// What is collected before it is stored. Two of these are the whole memory an upload needs: one that is being
/// stored and one that is being filled.
const BLOCK: usize = 512 * 1024;

/// What a transport says when a body breaks off.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// How a body ended.
pub(super) struct Received {
    /// How many bytes of it are stored.
    pub(super) length: u64,
    /// Why it ended early, if it did.
    pub(super) interrupted: Option<BodyError>,
}

impl Received {
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
pub(super) async fn receive(
    writer: &mut dyn Writer,
    hasher: &mut Hasher,
    body: &mut (impl Stream<Item = Result<Bytes, BodyError>> + Unpin),
) -> Result<Received, Error> {
    let mut source = Source {
        body,
        rest: Bytes::new(),
        ended: false,
        interrupted: None,
    };
    let mut length = 0;
    let mut block = source.fill().await;
    while !block.is_empty() {
        length += block.len() as u64;
        let store = async {
            let stored = writer.write(block.clone());
            let hashed = hashing::update(std::mem::take(hasher), block.clone());
            try_join(
                async { stored.await.map_err(Error::storage("store a part of an upload")) },
                hashed,
            )
            .await
        };
        let (next, stored) = join(source.fill(), store).await;
        let ((), hashed) = stored?;
        *hasher = hashed;
        block = next;
    }
    Ok(Received {
        length,
        interrupted: source.interrupted,
    })
}

struct Source<'a, B> {
    body: &'a mut B,
    /// What of the last frame did not fit.
    rest: Bytes,
    ended: bool,
    interrupted: Option<BodyError>,
}

impl<B: Stream<Item = Result<Bytes, BodyError>> + Unpin> Source<'_, B> {
    /// The next block, full unless it is the last; empty at the end.
    ///
    /// Frames are copied together: a frame is a slice of a connection's buffer and would keep all of it alive,
    /// so that many small frames held far more memory than they have bytes.
    async fn fill(&mut self) -> Bytes {
        let mut block = BytesMut::new();
        loop {
            if self.rest.is_empty() {
                if self.ended {
                    break;
                }
                match self.body.next().await {
                    Some(Ok(frame)) => self.rest = frame,
                    Some(Err(error)) => {
                        self.interrupted = Some(error);
                        self.ended = true;
                        break;
                    }
                    None => {
                        self.ended = true;
                        break;
                    }
                }
            }
            let taken = self.rest.split_to(self.rest.len().min(BLOCK - block.len()));
            if block.capacity() == 0 && taken.len() < BLOCK {
                // Small bodies get small blocks; a second frame means a big one.
                block.reserve(taken.len());
            } else if block.capacity() - block.len() < taken.len() {
                block.reserve(BLOCK - block.len());
            }
            block.extend_from_slice(&taken);
            if block.len() == BLOCK {
                break;
            }
        }
        block.freeze()
    }
}
