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

/// An opened object: its size, and the asked part in blocks.
///
/// As a stream it is for those who take everything as fast as it comes: blocks are large, and the next one may be read
/// ahead. [`Content::poll_block`] is for those who send it to a client: a block is read when it is asked for, and not
/// before.
pub struct Content {
    /// Size of the whole object in bytes.
    pub size: u64,
    /// The bytes that are given.
    pub range: Range<u64>,
    /// When the object was written last.
    pub modified: SystemTime,
    // A type of ours rather than a public stream: a driver may later hand out a file or a mapping instead.
    source: Source,
}

/// Where blocks come from.
enum Source {
    /// A driver that reads as much as it is asked for.
    Blocks(Pin<Box<dyn Blocks>>),
    /// A driver that gives what the store sends. The part of a block that was not asked for stays here.
    Stream(BoxStream<'static, Result<Bytes, Error>>, Bytes),
}

/// A source of blocks.
pub(super) trait Blocks: Send {
    /// The next block, of at most `most` bytes, which is more than nothing. With `ahead` the one behind it is begun as well. A block that was begun
    /// already may have another size.
    fn poll_block(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        most: usize,
        ahead: bool,
    ) -> Poll<Option<Result<Bytes, Error>>>;
}

/// How much is read at a time for those who take everything: measured, 256 KiB in one blocking call costs a tenth of
/// the processor time that the usual 4 KiB cost, and as much as nginx without sendfile.
const STREAM_BLOCK: usize = 256 * 1024;

impl Content {
    /// For drivers that give what the store sends.
    pub(super) fn new(
        metadata: Metadata,
        range: Range<u64>,
        stream: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    ) -> Self {
        let source = Source::Stream(Box::pin(stream), Bytes::new());
        Self::of(metadata, range, source)
    }

    /// For drivers that read as much as they are asked for.
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

    /// The next block, of at most `most` bytes. Nothing is read for the block behind it.
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
