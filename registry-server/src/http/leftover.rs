//! What nobody read of a request's body.
//!
//! Over HTTP/1.1 a connection whose request was not read to its end can only be closed, and a client that is still sending
//! then sees a broken pipe in place of the answer that says why. So what is left is read and thrown away first, as far as
//! that is worth it. HTTP/2 ends a stream without closing the connection and needs none of this.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderValue, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// How much is read and thrown away at most.
const DISCARDED_MAX: u64 = 32 * 1024 * 1024;
/// And for how long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the rest of a body goes when whoever read it lets go of it.
pub(super) struct Leftover<B>(Option<Home<B>>);

/// Nowhere, for a request that has no body.
type Home<B> = Arc<Mutex<Option<Rest<B>>>>;

struct Rest<B> {
    body: B,
    /// Whether any of it was asked for.
    touched: bool,
}

/// A body on loan: what is not read of it comes back.
pub(super) struct Lent<B> {
    rest: Option<Rest<B>>,
    home: Option<Home<B>>,
}

impl<B: Body> Leftover<B> {
    /// Lends a body.
    pub(super) fn of(body: B) -> (Lent<B>, Self) {
        let home = (!body.is_end_stream()).then(Home::default);
        let lent = Lent {
            rest: Some(Rest { body, touched: false }),
            home: home.clone(),
        };
        (lent, Self(home))
    }

    /// Reads what is left, if there is anything, within bounds.
    pub(super) async fn discard(self, parts: &Waiting)
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let take = |home: Home<B>| home.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Rest { body, touched }) = self.0.and_then(take) else {
            return;
        };
        // A client that waits for a word before it sends has sent nothing.
        if parts.http1 && (touched || !parts.expects) {
            // When the time is over, or the client gone, there is nothing more to do for it.
            let _ = tokio::time::timeout(PATIENCE, read(body)).await;
        }
    }
}

/// What of a request says whether its client is sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    http1: bool,
    expects: bool,
}

impl Waiting {
    pub(super) fn of(parts: &Parts) -> Self {
        let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        Self {
            http1: parts.version <= Version::HTTP_11,
            expects: parts.headers.get(EXPECT).is_some_and(expects),
        }
    }
}

async fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
        if discarded > DISCARDED_MAX {
            return;
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        rest.touched = true;
        let frame = Pin::new(&mut rest.body).poll_frame(context);
        // At its end, or broken: nothing of it is left.
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Some(rest) => rest.body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(rest), Some(home)) = (self.rest.take(), &self.home) {
            *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Frames of a megabyte, counted as they are taken.
    struct Frames {
        left: VecDeque<Bytes>,
        taken: Arc<Mutex<usize>>,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let frame = self.left.pop_front();
            *self.taken.lock().unwrap() += usize::from(frame.is_some());
            Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    /// How many of `frames` are taken when a handler takes `read` of them.
    async fn taken(frames: usize, read: usize, request: http::request::Builder) -> usize {
        let taken = Arc::default();
        let left = (0..frames).map(|_| Bytes::from(vec![0; 1 << 20])).collect();
        let (mut lent, leftover) = Leftover::of(Frames {
            left,
            taken: Arc::clone(&taken),
        });
        for _ in 0..read {
            let _ = lent.frame().await;
        }
        drop(lent);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        leftover.discard(&Waiting::of(&parts)).await;
        *taken.lock().unwrap()
    }

    #[tokio::test]
    async fn what_is_left_is_read_within_bounds_and_only_where_it_helps() {
        let plain = http::Request::builder;
        let expects = || plain().header(EXPECT, "100-Continue");
        for (name, frames, read, request, expected) in [
            ("nothing was read", 5, 0, plain(), 5),
            ("some was read", 5, 2, plain(), 5),
            ("all was read", 5, 6, plain(), 5),
            ("too much is left", 50, 1, plain(), 34),
            ("the client waits", 5, 0, expects(), 0),
            ("the client waited", 5, 1, expects(), 5),
            (
                "HTTP/2 needs none of this",
                5,
                1,
                plain().version(Version::HTTP_2),
                1,
            ),
        ] {
            assert_eq!(taken(frames, read, request).await, expected, "{name}");
        }
    }
}
