//! An object that is being read.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;

use super::{Error, Metadata};

/// An opened object: its size, and the requested range in blocks.
///
/// The [`Stream`] is for callers that read as fast as they can: blocks are large, and the next one may be read ahead.
/// [`Content::poll_block`] is for callers that send the bytes to a client: a block is read only when it is asked for.
pub struct Content {
    /// Size of the whole object in bytes.
    pub size: u64,
    /// The bytes of the object that the blocks hold.
    pub range: Range<u64>,
    /// Time of the last write.
    pub modified: SystemTime,
    // A private type rather than a public stream, so that a driver may give a file or a mapping later.
    source: Source,
}

/// The source of the blocks.
enum Source {
    /// From a driver that reads blocks of any requested size.
    Blocks(Pin<Box<dyn Blocks>>),
    /// From a driver that gives blocks as the store sends them, and the rest of a block that was not asked for.
    Stream(BoxStream<'static, Result<Bytes, Error>>, Bytes),
}

/// A source of blocks.
pub(super) trait Blocks: Send {
    /// The next block, of at least one and at most `most` bytes. With `ahead` the read of the following block begins as
    /// well. A block whose read had begun already may have another size.
    fn poll_block(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        most: usize,
        ahead: bool,
    ) -> Poll<Option<Result<Bytes, Error>>>;
}

/// Block size of the stream. Measured: 256 KiB per blocking call cost a tenth of the processor time of the usual 4 KiB,
/// about as much as nginx without sendfile.
const STREAM_BLOCK: usize = 256 * 1024;

impl Content {
    /// Content of a driver that gives blocks as the store sends them.
    pub(super) fn new(
        metadata: Metadata,
        range: Range<u64>,
        stream: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    ) -> Self {
        let source = Source::Stream(Box::pin(stream), Bytes::new());
        Self::of(metadata, range, source)
    }

    /// Content of a driver that reads blocks of any requested size.
    pub(super) fn from_blocks(metadata: Metadata, range: Range<u64>, blocks: impl Blocks + 'static) -> Self {
        Self::of(metadata, range, Source::Blocks(Box::pin(blocks)))
    }

    fn of(metadata: Metadata, range: Range<u64>, source: Source) -> Self {
        Self {
            size: metadata.size,
            range,
            modified: metadata.modified,
            source,
        }
    }

    /// The next block, of at most `most` bytes. The read of the following block does not begin.
    pub fn poll_block(
        &mut self,
        context: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        match &mut self.source {
            Source::Blocks(blocks) => blocks.as_mut().poll_block(context, most.max(1), false),
            Source::Stream(stream, rest) => {
                if rest.is_empty() {
                    match ready!(stream.as_mut().poll_next(context)) {
                        Some(Ok(block)) => *rest = block,
                        end => return Poll::Ready(end),
                    }
                }
                let block = rest.split_to(most.max(1).min(rest.len()));
                Poll::Ready(Some(Ok(block)))
            }
        }
    }
}

impl Stream for Content {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.source {
            Source::Blocks(blocks) => blocks.as_mut().poll_block(context, STREAM_BLOCK, true),
            Source::Stream(stream, rest) if rest.is_empty() => stream.as_mut().poll_next(context),
            Source::Stream(_, rest) => Poll::Ready(Some(Ok(std::mem::take(rest)))),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
