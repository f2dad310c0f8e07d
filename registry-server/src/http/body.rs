//! The bodies of requests and of responses.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body::{Frame, SizeHint};

use super::multipart_byteranges::{MultipartBody, MultipartByteRanges};
use super::response_memory::{BLOCK_MAX, BLOCK_MIN, ConnectionMemory, Reservation};
use crate::storage::{self, Content};

/// The error of a body that breaks off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request over any transport.
pub trait RequestBody:
    http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static
{
}

impl<B> RequestBody for B where
    B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static
{
}

/// The body of a response: nothing, bytes in memory, or stored content that is read while it is sent.
///
/// A type of its own and not a boxed stream, so that the listener could hand a file to the kernel one day.
#[derive(Debug)]
pub struct Body {
    kind: BodyKind,
    /// The memory that its blocks are taken from. Without it, as in tests, no memory is counted.
    memory: Option<ConnectionMemory>,
}

#[derive(Debug)]
enum BodyKind {
    Empty,
    Whole(Bytes),
    Chunks(VecDeque<Bytes>),
    Stored(StoredBody),
}

/// Stored content, or parts of it, while it is sent.
struct StoredBody {
    source: BlockSource,
    /// The wanted size of the next block. It grows while the client reads one block after the other.
    next_size: usize,
    next_reservation: NextReservation,
}

/// The source of its blocks.
#[derive(Debug)]
enum BlockSource {
    Content { content: Content, left: u64 },
    ByteRanges(Box<MultipartBody>),
}

/// The memory for the next block.
enum NextReservation {
    None,
    Waiting(Pin<Box<dyn Future<Output = Reservation> + Send>>),
    Ready(Reservation),
}

/// There is no memory for a response now.
#[derive(Debug)]
pub(crate) struct NoMemory;

/// The largest number of bytes that are sent without a reservation. A response of this size is always possible.
const SMALL: usize = 16 << 10;

impl Body {
    /// An empty body.
    pub fn empty() -> Self {
        Self::of(BodyKind::Empty)
    }

    /// A body of bytes in memory.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::of(BodyKind::Whole(bytes.into()))
    }

    /// A body of several pieces in memory, in their order.
    pub(super) fn chunks(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        Self::of(BodyKind::Chunks(chunks.collect()))
    }

    /// A body of stored content.
    pub fn content(content: Content) -> Self {
        let left = content.range.end - content.range.start;
        Self::stored(BlockSource::Content { content, left })
    }

    /// A body of several parts of stored content. Each part is opened when it is sent.
    pub(super) fn byte_ranges(
        parts: MultipartByteRanges,
        contents: BoxStream<'static, Result<Content, storage::Error>>,
    ) -> Self {
        Self::stored(BlockSource::ByteRanges(Box::new(MultipartBody::new(
            parts, contents,
        ))))
    }

    fn stored(source: BlockSource) -> Self {
        Self::of(BodyKind::Stored(StoredBody {
            source,
            next_size: 2 * BLOCK_MIN,
            next_reservation: NextReservation::None,
        }))
    }

    fn of(kind: BodyKind) -> Self {
        Self { kind, memory: None }
    }

    /// The same body, with its memory taken from the share of a connection. Stored content waits until memory is free.
    ///
    /// # Errors
    /// [`NoMemory`] when bytes that are in memory already do not fit.
    pub(crate) fn within(self, memory: &ConnectionMemory) -> Result<Self, NoMemory> {
        let kind = match self.kind {
            BodyKind::Whole(bytes) if bytes.len() > SMALL => {
                let reservation = memory.reserve_exact(bytes.len()).ok_or(NoMemory)?;
                BodyKind::Whole(reservation.fill(bytes))
            }
            BodyKind::Chunks(chunks) => {
                let counted = |chunk: Bytes| match chunk.len() > SMALL {
                    true => memory
                        .reserve_exact(chunk.len())
                        .map(|reservation| reservation.fill(chunk)),
                    false => Some(chunk),
                };
                let chunks = chunks.into_iter().map(counted).collect::<Option<_>>();
                BodyKind::Chunks(chunks.ok_or(NoMemory)?)
            }
            kind => kind,
        };
        Ok(Self {
            kind,
            memory: Some(memory.clone()),
        })
    }

    fn left(&self) -> u64 {
        match &self.kind {
            BodyKind::Empty => 0,
            BodyKind::Whole(bytes) => bytes.len() as u64,
            BodyKind::Chunks(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            BodyKind::Stored(sending) => sending.source.left(),
        }
    }
}

impl StoredBody {
    fn poll_block(
        &mut self,
        context: &mut Context<'_>,
        memory: Option<&ConnectionMemory>,
    ) -> Poll<Option<Result<Bytes, storage::Error>>> {
        let Some(memory) = memory else {
            return self.poll_content(context, BLOCK_MAX);
        };
        let size = match &mut self.next_reservation {
            NextReservation::Ready(reservation) => reservation.size(),
            NextReservation::Waiting(reservation) => {
                let reservation = ready!(reservation.as_mut().poll(context));
                self.next_reservation.set(reservation)
            }
            NextReservation::None => match memory.try_reserve(self.next_size) {
                Some(reservation) => self.next_reservation.set(reservation),
                None => {
                    let mut reservation = memory.reserve_when_free();
                    match reservation.as_mut().poll(context) {
                        Poll::Ready(reservation) => self.next_reservation.set(reservation),
                        Poll::Pending => {
                            self.next_reservation = NextReservation::Waiting(reservation);
                            return Poll::Pending;
                        }
                    }
                }
            },
        };
        let block = ready!(self.poll_content(context, size));
        self.next_size = (self.next_size * 2).min(BLOCK_MAX);
        // At the end, or after an error, the reservation is dropped.
        let reservation = std::mem::replace(&mut self.next_reservation, NextReservation::None);
        Poll::Ready(match (block, reservation) {
            (Some(Ok(bytes)), NextReservation::Ready(reservation)) => Some(Ok(reservation.fill(bytes))),
            (block, _) => block,
        })
    }

    fn poll_content(
        &mut self,
        context: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Bytes, storage::Error>>> {
        let block = ready!(self.source.poll_block(context, most));
        if let Some(Err(error)) = &block {
            // The status was sent long ago, so the connection can only be broken off.
            tracing::error!(%error, "content could not be read to its end");
        }
        Poll::Ready(block)
    }
}

impl BlockSource {
    fn left(&self) -> u64 {
        match self {
            Self::Content { left, .. } => *left,
            Self::ByteRanges(sending) => sending.left(),
        }
    }

    fn poll_block(
        &mut self,
        context: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Bytes, storage::Error>>> {
        match self {
            Self::Content { content, left } => {
                let block = ready!(content.poll_block(context, most));
                if let Some(Ok(bytes)) = &block {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(block)
            }
            Self::ByteRanges(sending) => sending.poll_block(context, most),
        }
    }
}

impl NextReservation {
    fn set(&mut self, reservation: Reservation) -> usize {
        let size = reservation.size();
        *self = Self::Ready(reservation);
        size
    }
}

impl std::fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredBody")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = storage::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, storage::Error>>> {
        let Self { kind, memory } = &mut *self;
        match kind {
            BodyKind::Empty => Poll::Ready(None),
            BodyKind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *kind = BodyKind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            BodyKind::Chunks(chunks) => Poll::Ready(chunks.pop_front().map(|chunk| Ok(Frame::data(chunk)))),
            BodyKind::Stored(sending) => {
                let block = ready!(sending.poll_block(context, memory.as_ref()));
                Poll::Ready(block.map(|block| block.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
