//! Several parts of a blob as one body: `multipart/byteranges` (RFC 9110, section 14.6).
//!
//! Guarantees: apart from the boundary, the bytes are those of Go's `ServeContent`, which distribution uses; the length
//! is known before the first byte; the memory is the list of ranges and one block.
//! Start at [`MultipartByteRanges`], which knows the form. [`MultipartBody`] sends it.

use std::fmt;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::HeaderValue;
use uuid::Uuid;

use crate::storage::{self, Content};

/// The number of characters of a boundary, as in Go.
const BOUNDARY: usize = 60;

/// The parts, and the text between them.
#[derive(Debug)]
pub(super) struct MultipartByteRanges {
    /// Random for each response: a client that pushes content must not be able to guess it.
    boundary: String,
    ranges: Vec<Range<u64>>,
    /// The size of the whole content in bytes.
    size: u64,
}

impl MultipartByteRanges {
    /// Parts of content of `size` bytes, in the order in which they are sent.
    pub(super) fn new(ranges: Vec<Range<u64>>, size: u64) -> Self {
        let mut boundary = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        boundary.truncate(BOUNDARY);
        Self {
            boundary,
            ranges,
            size,
        }
    }

    /// The `Content-Type` of the whole body.
    pub(super) fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(format!("multipart/byteranges; boundary={}", self.boundary))
            .expect("hexadecimal digits are fit for a header")
    }

    /// The length of the body in bytes.
    pub(super) fn length(&self) -> u64 {
        let parts = self.ranges.iter().enumerate();
        let parts = parts.map(|(index, range)| self.head(index).len() as u64 + (range.end - range.start));
        parts.sum::<u64>() + self.tail().len() as u64
    }

    /// The text before a part.
    fn head(&self, index: usize) -> String {
        let Self { boundary, size, .. } = self;
        let range = &self.ranges[index];
        let separator = if index == 0 { "" } else { "\r\n" };
        format!(
            "{separator}--{boundary}\r\nContent-Range: bytes {}-{}/{size}\r\nContent-Type: application/octet-stream\r\n\r\n",
            range.start,
            range.end - 1,
        )
    }

    /// The text after the last part.
    fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

/// A multipart body while it is sent.
pub(super) struct MultipartBody {
    parts: MultipartByteRanges,
    /// The contents of the parts. Each is opened when the stream is polled for it.
    contents: BoxStream<'static, Result<Content, storage::Error>>,
    next: NextPart,
    left: u64,
}

/// The piece that is sent next.
#[derive(Debug)]
enum NextPart {
    /// The head of a part, or the end of the body when there is no part of this number.
    Head(usize),
    /// The content of a part that is not open yet.
    Open(usize),
    /// The content of an open part.
    Content(usize, Content),
    /// The body has ended.
    Done,
}

impl MultipartBody {
    pub(super) fn new(
        parts: MultipartByteRanges,
        contents: BoxStream<'static, Result<Content, storage::Error>>,
    ) -> Self {
        let left = parts.length();
        Self {
            parts,
            contents,
            next: NextPart::Head(0),
            left,
        }
    }

    /// The number of bytes that are still to be sent.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, at most `most` of content.
    pub(super) fn poll_block(
        &mut self,
        context: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Bytes, storage::Error>>> {
        loop {
            let (bytes, next) = match &mut self.next {
                NextPart::Head(index) if *index == self.parts.ranges.len() => {
                    (Bytes::from(self.parts.tail()), NextPart::Done)
                }
                NextPart::Head(index) => (Bytes::from(self.parts.head(*index)), NextPart::Open(*index)),
                NextPart::Open(index) => {
                    self.next = match ready!(self.contents.poll_next_unpin(context)) {
                        Some(Ok(content)) => NextPart::Content(*index, content),
                        Some(Err(error)) => return self.broken(error),
                        None => NextPart::Done,
                    };
                    continue;
                }
                NextPart::Content(index, content) => match ready!(content.poll_block(context, most)) {
                    Some(Ok(bytes)) => {
                        self.left = self.left.saturating_sub(bytes.len() as u64);
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Some(Err(error)) => return self.broken(error),
                    None => {
                        self.next = NextPart::Head(*index + 1);
                        continue;
                    }
                },
                NextPart::Done => return Poll::Ready(None),
            };
            self.left = self.left.saturating_sub(bytes.len() as u64);
            self.next = next;
            return Poll::Ready(Some(Ok(bytes)));
        }
    }

    /// Ends the body with an error. The status was sent long ago, so the connection can only be broken off.
    fn broken(&mut self, error: storage::Error) -> Poll<Option<Result<Bytes, storage::Error>>> {
        self.next = NextPart::Done;
        Poll::Ready(Some(Err(error)))
    }
}

impl fmt::Debug for MultipartBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipartBody")
            .field("parts", &self.parts)
            .field("next", &self.next)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
