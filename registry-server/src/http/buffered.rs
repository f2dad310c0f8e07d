//! Reading a whole request body into memory, as manifests need it.
//!
//! Guarantees: the memory grows with the bytes that arrive, whatever length the client announces; all of it but a few
//! KiB is taken from a budget that all requests share; a client that sends too slowly for its share of the budget is
//! given up.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::body::{BodyError, RequestBody};
use crate::memory_budget::{MemoryBudget, MemoryShare};

/// The bytes of each body that need no share of the budget. Its connection uses as much for reading. Most manifests are
/// smaller, so they are accepted even when the budget is used up.
const UNBUDGETED: usize = 16 * 1024;
/// How long a body may wait for its share of the budget.
pub(super) const MEMORY_WAIT: Duration = Duration::from_secs(10);
/// The lowest rate in bytes a second at which a client may send. Before it counts, a client has the time of the idle
/// timeout.
const RATE_MIN: u64 = 16 * 1024;

/// The limits of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits<'a> {
    pub(super) memory: &'a MemoryBudget,
    /// The most bytes.
    pub(super) size: usize,
    /// How long the client may send nothing.
    pub(super) timeout: Duration,
    /// How long the body may wait for memory in all.
    pub(super) memory_wait: Duration,
}

/// A whole body with its share of the budget.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) bytes: Bytes,
    pub(super) share: MemoryShare,
}

/// Errors of reading a body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The body broke off.
    #[error("the body did not come to its end")]
    Broken(#[source] BodyError),
    /// The budget is used up.
    #[error("too many large requests at once")]
    NoMemory,
    /// The body came too slowly.
    #[error("the body came too slowly")]
    Slow,
    /// The body has more bytes than the limit.
    #[error("the body has {size} bytes at least")]
    TooLarge {
        /// The number of bytes that have arrived.
        size: u64,
    },
}

/// Reads a body to its end.
pub(super) async fn collect<B: RequestBody>(mut body: B, limits: Limits<'_>) -> Result<Buffered, Error> {
    let mut buffer = Buffer {
        bytes: Vec::new(),
        share: MemoryShare::default(),
        limits,
    };
    let mut deadline = Instant::now() + limits.timeout;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Error::Slow),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(Error::Broken(error.into())),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            let before = Instant::now();
            buffer.extend(&data).await?;
            // The wait for memory does not count as the client's time.
            deadline += before.elapsed() + Duration::from_millis(data.len() as u64 * 1000 / RATE_MIN);
        }
    }
    let Buffer { bytes, share, .. } = buffer;
    Ok(Buffered {
        bytes: bytes.into(),
        share,
    })
}

struct Buffer<'a> {
    bytes: Vec<u8>,
    share: MemoryShare,
    limits: Limits<'a>,
}

impl Buffer<'_> {
    async fn extend(&mut self, data: &[u8]) -> Result<(), Error> {
        let needed = self.bytes.len() + data.len();
        if needed > self.limits.size {
            return Err(Error::TooLarge { size: needed as u64 });
        }
        if needed > self.bytes.capacity() {
            let capacity = needed.next_power_of_two().max(UNBUDGETED).min(self.limits.size);
            let more = capacity.saturating_sub(self.bytes.capacity().max(UNBUDGETED));
            if more > 0 {
                let before = Instant::now();
                // The cast is safe: a body is far smaller than a share can be.
                let more = self
                    .limits
                    .memory
                    .take(more as u32, self.limits.memory_wait)
                    .await;
                self.share.add(more.ok_or(Error::NoMemory)?);
                self.limits.memory_wait = self.limits.memory_wait.saturating_sub(before.elapsed());
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::super::body_timeout::BodyTimeout;
    use super::*;

    const MAX: usize = 4 << 20;

    fn limits(memory: &MemoryBudget) -> Limits<'_> {
        Limits {
            memory,
            size: MAX,
            timeout: Duration::from_millis(300),
            memory_wait: Duration::from_millis(50),
        }
    }

    /// A body of frames with a pause before each.
    fn body(frames: usize, size: usize, pause: Duration) -> impl RequestBody {
        let frames = stream::iter(0..frames).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![1; size])))
        });
        StreamBody::new(Box::pin(frames))
    }

    fn stalled(frames: usize, size: usize) -> impl RequestBody {
        let frames = stream::iter(0..frames)
            .map(move |_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![1; size]))))
            .chain(stream::pending());
        StreamBody::new(Box::pin(frames))
    }

    #[tokio::test]
    async fn bodies_have_memory_for_what_came_and_give_it_back() {
        let memory = MemoryBudget::new(MAX);
        for (frames, size) in [(0, 0), (1, 100), (100, 1000), (1024, 4096)] {
            let body = body(frames, size, Duration::ZERO);
            let Buffered { bytes, share } = collect(body, limits(&memory)).await.unwrap();
            assert_eq!(bytes.len(), frames * size);
            assert!(MAX - memory.left() <= 2 * bytes.len(), "{}", memory.left());
            drop(share);
            assert_eq!(memory.left(), MAX);
        }
        let error = collect(body(1025, 4096, Duration::ZERO), limits(&memory)).await;
        assert!(matches!(error, Err(Error::TooLarge { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn what_stalls_has_no_more_than_the_budget_and_small_bodies_are_still_taken() {
        let memory = MemoryBudget::new(8 << 20);
        let idle = Duration::from_millis(200);
        let mut stalled: Vec<_> = (0..256)
            .map(|_| BodyTimeout::new(stalled(1023, 4096), idle))
            .map(|body| Box::pin(collect(body, limits(&memory))))
            .collect();
        for stalled in &mut stalled {
            assert!(stalled.as_mut().now_or_never().is_none());
        }
        assert!(memory.left() < 4 << 20);
        let small = collect(body(10, 1000, Duration::ZERO), limits(&memory));
        assert_eq!(small.await.unwrap().bytes.len(), 10_000);
        let large = collect(body(1000, 4096, Duration::ZERO), limits(&memory));
        assert!(matches!(large.await, Err(Error::NoMemory)));
        // Some bodies wait for memory and some for their clients. None waits for ever.
        for stalled in stalled {
            let error = stalled.await;
            assert!(
                matches!(error, Err(Error::NoMemory | Error::Broken(_))),
                "{error:?}"
            );
        }
        assert_eq!(memory.left(), 8 << 20);
    }

    #[tokio::test]
    async fn a_client_that_trickles_is_let_go_and_a_slow_one_is_not() {
        let memory = MemoryBudget::new(MAX);
        let trickle = collect(body(usize::MAX, 1, Duration::from_millis(50)), limits(&memory));
        assert!(matches!(trickle.await, Err(Error::Slow)));
        // Each frame extends the deadline by one second.
        let slow = collect(body(50, 16 << 10, Duration::from_millis(20)), limits(&memory));
        assert_eq!(slow.await.unwrap().bytes.len(), 50 * (16 << 10));
    }
}
