//! The body of an answer, each part of which must come in time. Start at [`LimitedBody`].

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use kube::client::Body;
use tokio::time::{Instant, Sleep, sleep};

use crate::health::Health;

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An answer that did not come.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", .0.as_secs())]
pub struct NoAnswer(pub(super) Duration);

/// The body of an answer, each part of which must come within a limit.
pub(super) struct LimitedBody {
    body: Body,
    /// `None` for a watch.
    limit: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Told of each part, when the answer shows that the API server does its work.
    health: Option<Health>,
}

impl LimitedBody {
    /// A body each part of which must come within `limit`, if there is one.
    pub(super) fn new(body: Body, limit: Option<Duration>, health: Option<Health>) -> Self {
        Self {
            body,
            limit: limit.map(|limit| (limit, Box::pin(sleep(limit)))),
            health,
        }
    }

    /// A body that has come already.
    pub(super) fn whole(bytes: impl Into<Body>) -> Self {
        Self::new(bytes.into(), None, None)
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(context);
        match (&frame, &mut this.limit) {
            (Poll::Ready(Some(Ok(_))), limit) => {
                if let Some(health) = &this.health {
                    health.answered();
                }
                if let Some((limit, end)) = limit {
                    end.as_mut().reset(Instant::now() + *limit);
                }
            }
            (Poll::Pending, Some((limit, end))) => {
                let over = end.as_mut().poll(context);
                return over.map(|()| Some(Err(NoAnswer(*limit).into())));
            }
            _ => {}
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
