//! The memory of responses that are being sent: a total for all of them, and a share of it for each connection.
//!
//! Guarantees: a block of a response is read only after it was reserved in the total and in the share; the reservation
//! ends when the block's memory is freed, wherever the block waited until then (hyper's buffers, HTTP/2's queues); one
//! stream cannot take the whole share of its connection, and one connection cannot take the whole total.
//! Must not: read anything. Start at [`ResponseMemory`]. [`super::Body`] makes the reservations.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The smallest block that is reserved.
pub(super) const BLOCK_MIN: usize = 8 << 10;
/// The largest block. Larger blocks would cost less processor time, but a connection over HTTP/1.1 holds two of them.
pub(super) const BLOCK_MAX: usize = 128 << 10;
/// The share of a connection over HTTP/1.1, which sends one response at a time.
const SHARE_HTTP1: usize = 2 * BLOCK_MAX;
/// The share of a connection over HTTP/2, for all its streams.
const SHARE_HTTP2: usize = 6 << 20;

/// How long a response waits for its own connection's memory before it checks again whether others have freed some.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The memory of all responses. A clone is another handle of the same memory.
#[derive(Debug, Clone)]
pub struct ResponseMemory(Arc<Total>);

#[derive(Debug)]
struct Total {
    free: Arc<Semaphore>,
    size: usize,
    /// The number of responses that wait for memory.
    waiting: AtomicUsize,
}

impl ResponseMemory {
    /// A total of `size` bytes (`http.limits.responsememory`).
    pub fn new(size: usize) -> Self {
        let size = size.clamp(SHARE_HTTP2, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self(Arc::new(Total {
            free: Arc::new(Semaphore::new(size)),
            size,
            waiting: AtomicUsize::new(0),
        }))
    }

    /// The number of reserved bytes.
    pub fn held(&self) -> usize {
        self.0.size - self.0.free.available_permits()
    }

    /// Whether a response waits for memory that other connections hold.
    pub(super) fn is_short(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// The share of a connection over HTTP/1.1.
    pub(super) fn http1(&self) -> ConnectionMemory {
        self.share(SHARE_HTTP1, 1, false)
    }

    /// The share of a connection over HTTP/2. Blocks become smaller as the share fills, so that about sixty stalled
    /// streams fit into it.
    pub(super) fn http2(&self) -> ConnectionMemory {
        self.share(SHARE_HTTP2, 32, true)
    }

    fn share(&self, size: usize, divisor: usize, streams: bool) -> ConnectionMemory {
        ConnectionMemory {
            all: self.clone(),
            own: Arc::new(Share {
                free: Arc::new(Semaphore::new(size)),
                size,
                divisor,
                streams,
                freed: Notify::new(),
            }),
            unsent: None,
        }
    }
}

/// The share of a connection, and the stream that uses it. A clone is another handle of the same share.
#[derive(Debug, Clone)]
pub struct ConnectionMemory {
    all: ResponseMemory,
    own: Arc<Share>,
    unsent: Option<Arc<UnsentBlocks>>,
}

#[derive(Debug)]
struct Share {
    free: Arc<Semaphore>,
    size: usize,
    /// A block takes at most this fraction of the free bytes.
    divisor: usize,
    /// Whether several responses are sent at the same time.
    streams: bool,
    /// Notified when a block's memory is freed.
    freed: Notify,
}

impl ConnectionMemory {
    /// The same share, which also tracks the unsent blocks of one stream.
    pub(super) fn of_stream(&self, unsent: Arc<UnsentBlocks>) -> Self {
        Self {
            unsent: Some(unsent),
            ..self.clone()
        }
    }

    fn held(&self) -> usize {
        self.own.size - self.own.free.available_permits()
    }

    /// Reserves a block of `wanted` bytes, or a smaller one when memory is scarce. `None` when no memory is free now.
    ///
    /// The limit of a connection falls with the bytes that are free in the total, like the "dynamic thresholds" by
    /// which network switches share their buffers. So a new connection finds memory however many others have stalled.
    pub(super) fn try_reserve(&self, wanted: usize) -> Option<Reservation> {
        let fair = self.fair_share().checked_sub(self.held())?;
        if fair < BLOCK_MIN {
            return None;
        }
        let own = self.own.free.available_permits() / self.own.divisor;
        let size = wanted.min(own).min(fair).max(BLOCK_MIN);
        // Others may have reserved in between. Then this fails.
        self.take(size, size)
    }

    /// The most bytes that a connection may hold now: an eighth of the total while all of it is free, and less by the
    /// square of the free fraction. A fixed fraction of the free bytes would be used up by some sixty connections; this
    /// one suffices for many hundreds.
    fn fair_share(&self) -> usize {
        let Total { free, size, .. } = &*self.all.0;
        let left = free.available_permits();
        (left.saturating_mul(left) / size / 8).max(2 * BLOCK_MIN)
    }

    /// Reserves memory for bytes that exist already. `None` when it is not free now. More bytes than an empty share has
    /// reserve the whole share.
    pub(super) fn reserve_exact(&self, bytes: usize) -> Option<Reservation> {
        let own = match self.own.streams {
            true => bytes.min(self.own.size),
            // The response before it may still be unsent, and no third one can be.
            false => 0,
        };
        self.take(bytes, own)
    }

    fn take(&self, size: usize, own: usize) -> Option<Reservation> {
        let all = size.min(self.all.0.size);
        let own = Arc::clone(&self.own.free)
            .try_acquire_many_owned(permits(own))
            .ok()?;
        let all = Arc::clone(&self.all.0.free)
            .try_acquire_many_owned(permits(all))
            .ok()?;
        Some(self.reservation(size, own, all))
    }

    /// Waits until the smallest block can be reserved.
    pub(super) fn reserve_when_free(&self) -> Pin<Box<dyn Future<Output = Reservation> + Send>> {
        let memory = self.clone();
        Box::pin(async move {
            loop {
                if let Some(reservation) = memory.try_reserve(BLOCK_MIN) {
                    return reservation;
                }
                if memory.held() == 0 {
                    return memory.wait_for_others().await;
                }
                // Memory that other connections free sends no notification here. Only a client that reads nothing waits
                // for that.
                let _ = tokio::time::timeout(RECHECK_INTERVAL, memory.own.freed.notified()).await;
            }
        })
    }

    /// Waits for the smallest block while other connections hold the whole total.
    async fn wait_for_others(&self) -> Reservation {
        let _waiting = Waiting::new(&self.all);
        // The semaphores live as long as `self` and are never closed.
        let acquire = |free: &Arc<Semaphore>| Arc::clone(free).acquire_many_owned(permits(BLOCK_MIN));
        let all = acquire(&self.all.0.free).await.expect("never closed");
        let own = acquire(&self.own.free).await.expect("never closed");
        self.reservation(BLOCK_MIN, own, all)
    }

    fn reservation(&self, size: usize, own: OwnedSemaphorePermit, all: OwnedSemaphorePermit) -> Reservation {
        Reservation {
            size,
            own,
            all,
            share: Arc::clone(&self.own),
            unsent: self.unsent.clone(),
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Counts a waiting response until this is dropped.
struct Waiting(ResponseMemory);

impl Waiting {
    fn new(memory: &ResponseMemory) -> Self {
        memory.0.waiting.fetch_add(1, Ordering::Relaxed);
        Self(memory.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reserved memory of one block. Dropping it frees the memory.
#[derive(Debug)]
pub(super) struct Reservation {
    size: usize,
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    share: Arc<Share>,
    unsent: Option<Arc<UnsentBlocks>>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Freed before the notification, so that a waiting response finds the memory free.
        for permit in [&mut self.own, &mut self.all] {
            drop(permit.split(permit.num_permits()));
        }
        self.share.freed.notify_one();
    }
}

impl Reservation {
    /// The number of reserved bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A block that keeps its reservation until its memory is freed.
    pub(super) fn fill(mut self, bytes: Bytes) -> Bytes {
        // Reserved bytes that the block does not need are freed at once.
        for permit in [&mut self.own, &mut self.all] {
            drop(permit.split(permit.num_permits().saturating_sub(bytes.len())));
        }
        if let Some(unsent) = &self.unsent {
            unsent.add();
        }
        Bytes::from_owner(Block {
            bytes,
            reservation: self,
        })
    }
}

struct Block {
    bytes: Bytes,
    reservation: Reservation,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(unsent) = &self.reservation.unsent {
            unsent.remove();
        }
    }
}

/// The blocks of one HTTP/2 stream that hyper has and the client has not read yet.
#[derive(Debug, Default)]
pub(super) struct UnsentBlocks {
    blocks: Mutex<Blocks>,
    all_sent: Notify,
}

#[derive(Debug, Default)]
struct Blocks {
    waiting: usize,
    /// When the last block was sent, or when a block was added after there was none.
    since: Option<Instant>,
}

impl UnsentBlocks {
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) {
        let mut blocks = self.blocks();
        blocks.waiting += 1;
        blocks.since.get_or_insert_with(Instant::now);
    }

    fn remove(&self) {
        let mut blocks = self.blocks();
        blocks.waiting = blocks.waiting.saturating_sub(1);
        blocks.since = (blocks.waiting > 0).then(Instant::now);
        if blocks.since.is_none() {
            self.all_sent.notify_one();
        }
    }

    /// How long blocks have waited without one being sent. `None` when no block waits.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        self.blocks().since.map(|since| since.elapsed())
    }

    /// Restarts the time of [`UnsentBlocks::stalled_for`].
    pub(super) fn restart(&self) {
        let mut blocks = self.blocks();
        blocks.since = blocks.since.map(|_| Instant::now());
    }

    /// Waits until no block waits.
    pub(super) async fn all_sent(&self) {
        while self.stalled_for().is_some() {
            self.all_sent.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
