//! A request body that fails when its client sends nothing for too long.
//!
//! The time runs only while the server waits for the client, never while it is busy itself.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::{BodyError, RequestBody};

/// The error of such a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client sent nothing for {0:?}")]
pub(super) struct IdleTimeout(pub(super) Duration);

/// A body with an idle timeout.
pub(super) struct BodyTimeout<B> {
    /// `None` after the timeout.
    body: Option<B>,
    limit: Duration,
    /// The beginning of the current wait for the client.
    waiting: Option<Instant>,
    /// Created at the first wait, and reset only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> BodyTimeout<B> {
    pub(super) fn new(body: B, limit: Duration) -> Self {
        Self {
            body: Some(body),
            limit,
            waiting: None,
            timer: None,
        }
    }
}

impl<B: RequestBody> Body for BodyTimeout<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = *this.waiting.get_or_insert_with(Instant::now) + this.limit;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                this.body = None;
                return Poll::Ready(Some(Err(Box::new(IdleTimeout(this.limit)))));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    type Sender = mpsc::UnboundedSender<Bytes>;

    fn body() -> (Sender, BodyTimeout<impl RequestBody>) {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            let bytes = receiver.recv().await?;
            Some((Ok::<_, std::io::Error>(Frame::data(bytes)), receiver))
        });
        (sender, BodyTimeout::new(StreamBody::new(Box::pin(stream)), LIMIT))
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_for_too_long_ends_its_body() {
        let (sender, mut body) = body();
        sender.send(Bytes::from("a")).unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&IdleTimeout(LIMIT)));
        assert!(body.frame().await.is_none());
        assert!(sender.is_closed(), "the body of the client is dropped");
    }

    #[tokio::test]
    async fn the_time_counts_from_the_last_bytes_and_not_while_the_server_is_busy() {
        // Far longer than a busy machine can stall. The wait is made to look that long by its beginning.
        let limit = Duration::from_secs(600);
        let (sender, mut body) = body();
        body.limit = limit;
        let long_ago = Instant::now().checked_sub(limit * 2).unwrap_or_else(Instant::now);
        for _ in 0..3 {
            sender.send(Bytes::from("a")).unwrap();
            // The wait was too long, but its bytes have arrived.
            body.waiting = Some(long_ago);
            body.frame().await.unwrap().unwrap();
            assert_eq!(body.waiting, None);
            assert!(body.frame().now_or_never().is_none());
            assert!(body.waiting.is_some_and(|since| since > long_ago));
        }
    }
}
