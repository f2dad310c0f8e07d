//! What a client is still sending when its answer is there.
//!
//! Over HTTP/1.1 a connection whose request was not read to its end can only be closed, and a client that is still
//! sending then sees a broken pipe in place of the answer that says why. So the answer is sent at once, and what goes on
//! coming is read and thrown away until the client has seen it. Bounded for one connection and for all. HTTP/2 ends a
//! stream without closing the connection and needs none of this.

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

/// What is read in this way at most.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// How many bytes of one connection.
    bytes: u64,
    /// For how long in all.
    time: Duration,
    /// For how long while nothing comes.
    silence: Duration,
    /// For how long when the server stops.
    at_stop: Duration,
    /// From how many connections at once; those beyond are closed.
    at_once: usize,
    /// For how long before the answer, when the length is not known: a short body ends within it and its connection
    /// goes on.
    before: Duration,
}

/// The times are nginx's for the same.
const BOUNDS: Bounds = Bounds {
    bytes: 128 * 1024 * 1024,
    time: Duration::from_secs(30),
    silence: Duration::from_secs(5),
    at_stop: Duration::from_secs(1),
    at_once: 256,
    before: Duration::from_millis(100),
};

/// Up to so much the rest is read and the connection goes on; Go's servers have the same limit.
const KEPT_ALIVE_MAX: u64 = 256 * 1024;

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

    fn take(self) -> Option<Rest<B>> {
        self.0?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The connections that are read from after their answers.
#[derive(Debug)]
pub(super) struct Lingering {
    bounds: Bounds,
    turns: Arc<Semaphore>,
    /// Set when the server is stopping.
    draining: Arc<AtomicBool>,
}

impl Lingering {
    pub(super) fn new(draining: Arc<AtomicBool>) -> Self {
        Self::within(BOUNDS, draining)
    }

    fn within(bounds: Bounds, draining: Arc<AtomicBool>) -> Self {
        Self {
            bounds,
            turns: Arc::new(Semaphore::new(bounds.at_once)),
            draining,
        }
    }

    /// Gives an answer to a client that may still be sending: says whether the connection goes on after it, and reads
    /// what comes until then without anybody waiting for it.
    pub(super) async fn answer<B, T>(
        &self,
        sender: &Sender,
        leftover: Leftover<B>,
        response: &mut Response<T>,
    ) where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if !sender.http1 {
            return;
        }
        let mut rest = leftover.take();
        // One that was too slow has had its time.
        let too_slow = response.status() == StatusCode::REQUEST_TIMEOUT;
        let sends = !too_slow && rest.as_ref().is_some_and(|rest| sender.sends(rest));
        // docker sends short bodies in chunks, too.
        if sends
            && let Some(Rest { body, .. }) = &mut rest
            && body.size_hint().upper().is_none()
            && ends_within(body, self.bounds.before).await
        {
            rest = None;
        }
        let goes_on = match &rest {
            None => !too_slow,
            Some(rest) => {
                sends
                    && rest
                        .body
                        .size_hint()
                        .upper()
                        .is_some_and(|size| size <= KEPT_ALIVE_MAX)
            }
        };
        if !goes_on {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if let Some(rest) = rest.filter(|_| sends)
            && let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned()
        {
            let (bounds, draining) = (self.bounds, Arc::clone(&self.draining));
            spawn(async move {
                let discarded = discard(rest.body, bounds, &draining).await;
                tracing::debug!(discarded, "a client was still sending after its answer");
                drop(turn);
            });
        }
    }
}

/// What of a request says whether its client is sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    http1: bool,
    expects: bool,
}

impl Sender {
    pub(super) fn of(parts: &Parts) -> Self {
        let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        Self {
            http1: parts.version <= Version::HTTP_11,
            expects: parts.headers.get(EXPECT).is_some_and(expects),
        }
    }

    /// A client that waits for a word before it sends has sent nothing.
    fn sends<B>(&self, rest: &Rest<B>) -> bool {
        rest.touched || !self.expects
    }
}

/// Reads a body that may be short; tells whether it was.
async fn ends_within<B: Body<Data = Bytes> + Unpin>(body: &mut B, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut came = 0;
    while came <= KEPT_ALIVE_MAX {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => came += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(None) => return true,
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

/// Reads a body within bounds; gives how many bytes came.
async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, bounds: Bounds, draining: &AtomicBool) -> u64 {
    let mut discarded = 0;
    let mut deadline = Instant::now() + bounds.time;
    while discarded <= bounds.bytes {
        let now = Instant::now();
        if draining.load(Ordering::Relaxed) {
            deadline = deadline.min(now + bounds.at_stop);
        }
        // At its end, broken off, or too slow: there is nothing more to do for the client.
        match timeout_at(deadline.min(now + bounds.silence), body.frame()).await {
            Ok(Some(Ok(frame))) => discarded += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(None | Some(Err(_))) | Err(_) => break,
        }
    }
    discarded
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
    use std::convert::Infallible;

    use http_body_util::{Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    /// A client's end of a body.
    type Client = mpsc::UnboundedSender<Bytes>;

    fn body() -> (
        Client,
        impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    ) {
        let (client, receiver) = mpsc::unbounded_channel::<Bytes>();
        let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
            let bytes = receiver.recv().await?;
            Some((Ok(Frame::data(bytes)), receiver))
        });
        (client, StreamBody::new(Box::pin(frames)))
    }

    /// Bounds that nothing reaches while a test runs.
    const WIDE: Bounds = Bounds {
        bytes: u64::MAX,
        time: Duration::from_secs(600),
        silence: Duration::from_secs(600),
        at_stop: Duration::from_secs(600),
        at_once: 2,
        before: Duration::ZERO,
    };

    fn lingering(bounds: Bounds) -> Lingering {
        Lingering::within(bounds, Arc::default())
    }

    fn sender(request: http::request::Builder) -> Sender {
        Sender::of(&request.body(()).unwrap().into_parts().0)
    }

    fn is_closed(response: &Response<()>) -> bool {
        response
            .headers()
            .get(CONNECTION)
            .is_some_and(|value| value == "close")
    }

    /// A client that is refused before anything of its body is read.
    async fn refused(lingering: &Lingering) -> Client {
        let (client, body) = body();
        let (lent, leftover) = Leftover::of(body);
        drop(lent);
        let mut response = Response::new(());
        lingering
            .answer(&sender(http::Request::builder()), leftover, &mut response)
            .await;
        assert!(is_closed(&response), "nobody knows how much comes");
        client
    }

    #[tokio::test]
    async fn a_client_that_goes_on_sending_is_answered_first_and_read_from_within_bounds() {
        let lingering = lingering(Bounds { bytes: 1000, ..WIDE });
        let client = refused(&lingering).await;
        let mut sent = 0;
        while client.send(Bytes::from(vec![0; 100])).is_ok() {
            sent += 1;
            tokio::task::yield_now().await;
        }
        assert!(sent > 10, "{sent}");
        client.closed().await;
        while lingering.turns.available_permits() < WIDE.at_once {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_says_nothing_more_or_trickles_is_let_go() {
        let soon = Duration::from_millis(30);
        for bounds in [
            Bounds {
                silence: soon,
                ..WIDE
            },
            Bounds { time: soon, ..WIDE },
        ] {
            let client = refused(&lingering(bounds)).await;
            client.send(Bytes::from("x")).unwrap();
            client.closed().await;
        }
    }

    #[tokio::test]
    async fn only_so_many_are_read_from_at_once_and_a_stop_ends_them_soon() {
        let soon = Duration::from_millis(30);
        let lingering = lingering(Bounds {
            at_stop: soon,
            ..WIDE
        });
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(refused(&lingering).await);
        }
        assert_eq!(clients.iter().filter(|client| client.is_closed()).count(), 3);
        lingering.draining.store(true, Ordering::Relaxed);
        for client in &clients {
            // Also one that goes on sending.
            let _ = client.send(Bytes::from("x"));
            client.closed().await;
        }
    }

    #[tokio::test]
    async fn a_connection_goes_on_after_a_small_rest_and_closes_after_a_large_one() {
        let request = http::Request::builder;
        let expects = || request().header(EXPECT, "100-Continue");
        let http2 = || request().version(Version::HTTP_2);
        for (name, size, read, request, closed) in [
            ("all was read", 1 << 20, 2, request(), false),
            ("little is left", 100, 0, request(), false),
            ("much is left", 1 << 20, 0, request(), true),
            ("the client waits", 100, 0, expects(), true),
            ("there is no body", 0, 0, expects(), false),
            ("HTTP/2 needs none of this", 1 << 20, 0, http2(), false),
        ] {
            let (mut lent, leftover) = Leftover::of(Full::new(Bytes::from(vec![0; size])));
            for _ in 0..read {
                let _ = lent.frame().await;
            }
            drop(lent);
            let mut response = Response::new(());
            lingering(WIDE)
                .answer(&sender(request), leftover, &mut response)
                .await;
            assert_eq!(is_closed(&response), closed, "{name}");
        }
    }

    #[tokio::test]
    async fn a_connection_goes_on_after_a_short_body_that_did_not_say_its_length() {
        let lingering = lingering(Bounds {
            before: Duration::from_secs(600),
            ..WIDE
        });
        for (name, sizes, closed) in [
            ("it ends soon", vec![10, 10], false),
            ("it is long", vec![200 << 10, 200 << 10], true),
        ] {
            let (client, body) = body();
            let (lent, leftover) = Leftover::of(body);
            drop(lent);
            for size in sizes {
                client.send(Bytes::from(vec![0; size])).unwrap();
            }
            drop(client);
            let mut response = Response::new(());
            lingering
                .answer(&sender(http::Request::builder()), leftover, &mut response)
                .await;
            assert_eq!(is_closed(&response), closed, "{name}");
        }
    }

    #[tokio::test]
    async fn after_a_body_that_took_too_long_the_connection_closes() {
        let (lent, leftover) = Leftover::of(Full::new(Bytes::new()));
        drop(lent);
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
        lingering(WIDE)
            .answer(&sender(http::Request::builder()), leftover, &mut response)
            .await;
        assert!(is_closed(&response));
    }
}
