//! Bodies of requests and of answers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream as _;
use futures_util::stream::BoxStream;
use http_body::{Frame, SizeHint};

use super::byte_ranges::{ByteRanges, Sending};
use crate::storage::{self, Content};

/// What a body says when it breaks off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, from whatever transport.
pub trait RequestBody:
    http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static
{
}

impl<B> RequestBody for B where
    B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static
{
}

/// The body of an answer: nothing, some bytes, or stored content or parts of it as it is read.
///
/// A type of ours rather than a boxed stream, so that the listener may one day hand a file to the kernel.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Empty,
    Whole(Bytes),
    Chunks(VecDeque<Bytes>),
    Content { content: Content, left: u64 },
    ByteRanges(Box<Sending>),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self { kind: Kind::Empty }
    }

    /// These bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            kind: Kind::Whole(bytes.into()),
        }
    }

    /// These bytes, one after the other.
    pub(super) fn chunks(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        Self {
            kind: Kind::Chunks(chunks.collect()),
        }
    }

    /// Stored content.
    pub fn content(content: Content) -> Self {
        let left = content.range.end - content.range.start;
        Self {
            kind: Kind::Content { content, left },
        }
    }

    /// Several parts of stored content, which are opened one after the other.
    pub(super) fn byte_ranges(
        parts: ByteRanges,
        contents: BoxStream<'static, Result<Content, storage::Error>>,
    ) -> Self {
        Self {
            kind: Kind::ByteRanges(Box::new(Sending::new(parts, contents))),
        }
    }

    fn left(&self) -> u64 {
        match &self.kind {
            Kind::Empty => 0,
            Kind::Whole(bytes) => bytes.len() as u64,
            Kind::Chunks(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            Kind::Content { left, .. } => *left,
            Kind::ByteRanges(sending) => sending.left(),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = storage::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, storage::Error>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Chunks(chunks) => Poll::Ready(chunks.pop_front().map(|chunk| Ok(Frame::data(chunk)))),
            Kind::Content { content, left } => match ready!(Pin::new(content).poll_next(context)) {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Some(Err(error)) => {
                    // The status is long sent: all that is left is to break the connection off.
                    tracing::error!(%error, "content could not be read to its end");
                    Poll::Ready(Some(Err(error)))
                }
                None => Poll::Ready(None),
            },
            Kind::ByteRanges(sending) => match ready!(sending.poll_next(context)) {
                Some(Err(error)) => {
                    tracing::error!(%error, "a part of content could not be read to its end");
                    Poll::Ready(Some(Err(error)))
                }
                other => Poll::Ready(other.map(|bytes| bytes.map(Frame::data))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
