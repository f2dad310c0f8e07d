//! The lock of an upload session: one request at a time writes to it.
//!
//! The request that came last gets the lock. A client that begins again has usually lost its connection, and its
//! earlier request would wait for bytes that never come. The earlier request ends where it waits for its client, keeps
//! the bytes that it got, and answers how far the session is. A request that is storing or finishing ends first. The
//! lock works within one process: another replica is held off by the lock of the store, or finds out by the record of
//! the session.
//! Start at [`SessionLocks::acquire`].

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use registry_oci::{RepositoryName, UploadId};
use tokio::sync::{OwnedMutexGuard, watch};

use crate::registry::store_body::BodyError;

/// How long a request waits for the earlier one to store its bytes.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

type SessionKey = (RepositoryName, UploadId);

/// The sessions to which requests write at this moment.
#[derive(Debug)]
pub(in crate::registry) struct SessionLocks {
    queues: Mutex<HashMap<SessionKey, Queue>>,
    timeout: Duration,
}

impl Default for SessionLocks {
    fn default() -> Self {
        Self {
            queues: Mutex::default(),
            timeout: LOCK_TIMEOUT,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Queue {
    /// How many requests have the lock or wait for it.
    requests: usize,
    /// The number of the latest request.
    newest: Arc<watch::Sender<u64>>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

/// Why a request does not get the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LockError {
    /// A later request came.
    #[error("another request goes on with this upload")]
    Overtaken,
    /// The earlier request did not end in time.
    #[error("the request before this one is not done")]
    Busy,
}

/// The lock of a session, until this is dropped.
#[derive(Debug)]
pub(super) struct SessionGuard {
    _lock: OwnedMutexGuard<()>,
    number: u64,
    newest: watch::Receiver<u64>,
    _place: QueuePlace,
}

/// The place of a request in a queue.
#[derive(Debug)]
struct QueuePlace {
    locks: Arc<SessionLocks>,
    session: SessionKey,
}

impl SessionLocks {
    /// Takes the lock over from the request that has it.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<SessionGuard, LockError> {
        let session = (repository.clone(), id.clone());
        let Queue { newest, lock, .. } = self.enter(&session);
        let place = QueuePlace {
            locks: Arc::clone(self),
            session,
        };
        let mut number = 0;
        newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let newest = newest.subscribe();
        tokio::select! {
            biased;
            () = overtaken(newest.clone(), number) => Err(LockError::Overtaken),
            lock = lock.lock_owned() => Ok(SessionGuard { _lock: lock, number, newest, _place: place }),
            () = tokio::time::sleep(self.timeout) => Err(LockError::Busy),
        }
    }

    fn enter(&self, session: &SessionKey) -> Queue {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(session.clone()).or_default();
        queue.requests += 1;
        queue.clone()
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut queues = self.locks.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get_mut(&self.session) {
            queue.requests -= 1;
            if queue.requests == 0 {
                queues.remove(&self.session);
            }
        }
    }
}

impl SessionGuard {
    /// The body of the request. It ends with [`LockError::Overtaken`] when it would wait for the client and a later
    /// request has come.
    pub(super) fn interruptible<B>(&self, body: B) -> InterruptibleBody<B> {
        InterruptibleBody {
            body,
            overtaken: Some(Box::pin(overtaken(self.newest.clone(), self.number))),
        }
    }
}

/// Waits until a later request comes.
async fn overtaken(mut newest: watch::Receiver<u64>, number: u64) {
    // The sender exists as long as any request is in the queue.
    let _ = newest.wait_for(|newest| *newest > number).await;
}

/// See [`SessionGuard::interruptible`].
pub(super) struct InterruptibleBody<B> {
    body: B,
    /// Nothing once a later request came.
    overtaken: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<B: Stream<Item = Result<Bytes, BodyError>> + Unpin> Stream for InterruptibleBody<B> {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(overtaken) = &mut this.overtaken else {
            return Poll::Ready(None);
        };
        // Bytes that came are taken first: a request whose whole body has arrived is not ended.
        let next = Pin::new(&mut this.body).poll_next(context);
        if next.is_ready() || overtaken.as_mut().poll(context).is_pending() {
            return next;
        }
        this.overtaken = None;
        Poll::Ready(Some(Err(Box::new(LockError::Overtaken))))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures_util::{FutureExt as _, StreamExt as _, stream};

    use super::*;

    fn names() -> (RepositoryName, UploadId) {
        (RepositoryName::parse("a").unwrap(), UploadId::unique())
    }

    #[tokio::test]
    async fn the_request_that_came_last_has_the_session_and_those_that_wait_are_told_at_once() {
        let locks = Arc::new(SessionLocks::default());
        let (repository, id) = names();
        let first = locks.acquire(&repository, &id).await.unwrap();
        let mut body = first.interruptible(stream::pending());
        assert!(body.next().now_or_never().is_none());
        let mut waiting: Vec<_> = (0..200)
            .map(|_| Box::pin(locks.acquire(&repository, &id)))
            .collect();
        let mut last = waiting.pop().unwrap();
        for waiting in &mut waiting {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        assert!(last.as_mut().now_or_never().is_none());
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap_err(), LockError::Overtaken);
        }
        let error = body.next().await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&LockError::Overtaken));
        assert!(body.next().await.is_none());
        assert!(last.as_mut().now_or_never().is_none(), "the first has not let go");
        drop(first);
        drop(last.await.unwrap());
        assert!(locks.queues.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_body_that_is_all_there_is_taken_to_its_end() {
        let locks = Arc::new(SessionLocks::default());
        let (repository, id) = names();
        let first = locks.acquire(&repository, &id).await.unwrap();
        let body = stream::iter([Ok(Bytes::from("a")), Ok(Bytes::from("b"))]);
        let body = first.interruptible(body);
        let mut second = Box::pin(locks.acquire(&repository, &id));
        assert!(
            second
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        let blocks: Vec<_> = body.map(Result::unwrap).collect().await;
        assert_eq!(blocks, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_request_that_does_not_come_to_its_end_is_not_waited_for_for_ever() {
        let locks = Arc::new(SessionLocks {
            timeout: Duration::from_millis(10),
            ..SessionLocks::default()
        });
        let (repository, id) = names();
        let first = locks.acquire(&repository, &id).await.unwrap();
        assert_eq!(
            locks.acquire(&repository, &id).await.unwrap_err(),
            LockError::Busy
        );
        let other = UploadId::unique();
        drop(locks.acquire(&repository, &other).await.unwrap());
        drop(first);
        drop(locks.acquire(&repository, &id).await.unwrap());
        assert!(locks.queues.lock().unwrap().is_empty());
    }
}
