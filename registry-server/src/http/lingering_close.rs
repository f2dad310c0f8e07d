//! Lingering close: reading and discarding the rest of a request after its response.
//!
//! Over HTTP/1.1 a connection whose request was not read to its end can only be closed. A client that is still sending
//! then sees a broken pipe instead of the response that says why. So the response is sent at once, and the server goes
//! on reading until the client has seen it, within bounds for each connection and for all together (nginx:
//! `lingering_close`). HTTP/2 ends a stream without closing the connection and needs none of this.
//!
//! Start at [`UnreadBody::track`] and [`LingeringClose::finish`].

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::telemetry::request::spawn;

/// The bounds of reading after the response.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Bytes of one connection.
    bytes: u64,
    /// Time for one connection.
    time: Duration,
    /// Time without a byte.
    idle: Duration,
    /// Time for one connection once the server is stopping.
    shutdown: Duration,
    /// Connections at the same time. Further ones are closed at once.
    connections: usize,
    /// Time before the response, for a body of unknown length: a short one ends within it, and its connection stays
    /// open.
    before_response: Duration,
}

/// The times are those of nginx.
const BOUNDS: Bounds = Bounds {
    bytes: 128 * 1024 * 1024,
    time: Duration::from_secs(30),
    idle: Duration::from_secs(5),
    shutdown: Duration::from_secs(1),
    connections: 256,
    before_response: Duration::from_millis(100),
};

/// The largest rest of a body after which the connection stays open. Go's server has the same limit.
const KEEP_ALIVE_MAX: u64 = 256 * 1024;

/// The part of a request body that its handler has not read. It is known once the handler has dropped the body.
pub(super) struct UnreadBody<B>(Option<Slot<B>>);

/// The place that a dropped body is returned to.
type Slot<B> = Arc<Mutex<Option<Rest<B>>>>;

struct Rest<B> {
    body: B,
    /// Whether the handler read any of it.
    polled: bool,
}

/// A request body that returns its unread part to [`UnreadBody`] when it is dropped.
pub(super) struct ReturnOnDrop<B> {
    rest: Option<Rest<B>>,
    slot: Option<Slot<B>>,
}

impl<B: Body> UnreadBody<B> {
    /// Wraps a body for its handler. A request without a body has no unread part.
    pub(super) fn track(body: B) -> (ReturnOnDrop<B>, Self) {
        let slot = (!body.is_end_stream()).then(Slot::default);
        let tracked = ReturnOnDrop {
            rest: Some(Rest { body, polled: false }),
            slot: slot.clone(),
        };
        (tracked, Self(slot))
    }

    fn take(self) -> Option<Rest<B>> {
        self.0?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The connections that are read from after their responses.
#[derive(Debug)]
pub(super) struct LingeringClose {
    bounds: Bounds,
    permits: Arc<Semaphore>,
    /// Set when the server is stopping.
    draining: Arc<AtomicBool>,
}

impl LingeringClose {
    pub(super) fn new(draining: Arc<AtomicBool>) -> Self {
        Self::within(BOUNDS, draining)
    }

    fn within(bounds: Bounds, draining: Arc<AtomicBool>) -> Self {
        Self {
            bounds,
            permits: Arc::new(Semaphore::new(bounds.connections)),
            draining,
        }
    }

    /// Finishes a response to a client that may still be sending. Adds `Connection: close` where the connection cannot
    /// stay open. The rest of the body is read by a task of its own, so that the response does not wait for it.
    pub(super) async fn finish<B, T>(
        &self,
        request: &RequestHead,
        unread: UnreadBody<B>,
        response: &mut Response<T>,
    ) where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if !request.http1 {
            return;
        }
        let mut rest = unread.take();
        // A client that took too long for its body gets no more time.
        let too_slow = response.status() == StatusCode::REQUEST_TIMEOUT;
        let is_sending = !too_slow && rest.as_ref().is_some_and(|rest| request.is_sending(rest));
        // docker sends short bodies in chunks, too.
        if is_sending
            && let Some(Rest { body, .. }) = &mut rest
            && body.size_hint().upper().is_none()
            && ends_within(body, self.bounds.before_response).await
        {
            rest = None;
        }
        let stays_open = match &rest {
            None => !too_slow,
            Some(rest) => {
                let size = rest.body.size_hint().upper();
                is_sending && size.is_some_and(|size| size <= KEEP_ALIVE_MAX)
            }
        };
        if !stays_open {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if let Some(rest) = rest.filter(|_| is_sending)
            && let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
        {
            let (bounds, draining) = (self.bounds, Arc::clone(&self.draining));
            spawn(async move {
                let discarded = discard(rest.body, bounds, &draining).await;
                tracing::debug!(discarded, "a client was still sending after its response");
                drop(permit);
            });
        }
    }
}

/// The parts of a request's head that tell whether the client is sending its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestHead {
    http1: bool,
    expects_continue: bool,
}

impl RequestHead {
    pub(super) fn of(parts: &Parts) -> Self {
        let is_continue = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        Self {
            http1: parts.version <= Version::HTTP_11,
            expects_continue: parts.headers.get(EXPECT).is_some_and(is_continue),
        }
    }

    /// A client that expects `100 Continue` sends nothing before it, and hyper sends that with the first read.
    fn is_sending<B>(&self, rest: &Rest<B>) -> bool {
        rest.polled || !self.expects_continue
    }
}

/// Reads a body that may be short. Returns whether it was.
async fn ends_within<B: Body<Data = Bytes> + Unpin>(body: &mut B, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut read = 0;
    while read <= KEEP_ALIVE_MAX {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(None) => return true,
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

/// Reads a body within the bounds. Returns the number of bytes read.
async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, bounds: Bounds, draining: &AtomicBool) -> u64 {
    let mut discarded = 0;
    let mut deadline = Instant::now() + bounds.time;
    while discarded <= bounds.bytes {
        let now = Instant::now();
        if draining.load(Ordering::Relaxed) {
            deadline = deadline.min(now + bounds.shutdown);
        }
        // The body ended, broke off or was too slow: nothing more can be done for the client.
        match timeout_at(deadline.min(now + bounds.idle), body.frame()).await {
            Ok(Some(Ok(frame))) => discarded += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(None | Some(Err(_))) | Err(_) => break,
        }
    }
    discarded
}

impl<B: Body + Unpin> Body for ReturnOnDrop<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        rest.polled = true;
        let frame = Pin::new(&mut rest.body).poll_frame(context);
        // After its end or an error, a body has no rest.
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

impl<B> Drop for ReturnOnDrop<B> {
    fn drop(&mut self) {
        if let (Some(rest), Some(slot)) = (self.rest.take(), &self.slot) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}

#[cfg(test)]
mod tests;
