//! The fence: a layer of the client that sends no write once this replica's Lease may have ended.
//!
//! Guarantees: a request that could change something is refused after the deadline, and one that has no answer by then is
//! given up, so that a replica that was paused, cut off or slow cannot write beside its successor. The deadline is counted
//! from before the renewal was sent. It is on a clock that nobody can set; when the wall clock says that more time has
//! gone, as after a suspended machine, that counts as well. Reads, and writes to the Lease itself, always go through.
//! Must not: know how a Lease is renewed. Start at [`Fence`].

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use http::{Request, Response};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{Layer, Service};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A write that was not sent, or whose answer was not waited for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "this replica does not hold the operator's Lease, so it writes nothing; the replica that holds it does"
)]
pub struct NotLeader;

/// The time until which this replica may write.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    fn has_gone(self) -> bool {
        Instant::now() >= self.monotonic || SystemTime::now() >= self.wall
    }
}

/// Whether this replica may write. Clones share one state.
#[derive(Clone, Debug)]
pub struct Fence {
    /// The deadline, `None` while the Lease is not held. Without a sender there is no election.
    deadline: Option<watch::Sender<Option<Deadline>>>,
}

impl Fence {
    /// A fence that is closed until a Lease is held.
    pub fn closed() -> Self {
        Self {
            deadline: Some(watch::Sender::new(None)),
        }
    }

    /// A fence that is always open, for an operator without leader election.
    pub fn always_open() -> Self {
        Self { deadline: None }
    }

    /// Whether a write would be sent now.
    pub fn is_open(&self) -> bool {
        match &self.deadline {
            Some(state) => state.borrow().is_some_and(|deadline| !deadline.has_gone()),
            None => true,
        }
    }

    /// Allows writes for `valid_for` after `sent`, the moment before the Lease was asked for.
    pub(crate) fn open(&self, sent: Moment, valid_for: Duration) {
        if let Some(state) = &self.deadline {
            state.send_replace(Some(Deadline {
                monotonic: sent.monotonic + valid_for,
                wall: sent.wall + valid_for,
            }));
        }
    }

    /// Refuses every further write, and gives up those that have no answer yet.
    pub(crate) fn close(&self) {
        if let Some(state) = &self.deadline {
            state.send_replace(None);
        }
    }

    /// Ends when no write may be sent any more.
    pub(crate) async fn wait_until_closed(&self) {
        let Some(state) = &self.deadline else {
            return std::future::pending().await;
        };
        let mut changes = state.subscribe();
        loop {
            let deadline = *changes.borrow_and_update();
            let Some(deadline) = deadline.filter(|deadline| !deadline.has_gone()) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline.monotonic) => {}
                // The sender is in `self`, so there is always one.
                _ = changes.changed() => {}
            }
        }
    }

    /// The layer for a client. `lease_path` is the path of the Lease, to which writes always go through.
    pub fn layer(&self, lease_path: LeasePath) -> FenceLayer {
        FenceLayer {
            fence: self.clone(),
            lease_path,
        }
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}

/// The paths of the API at which a Lease is created and changed.
#[derive(Clone, Debug)]
pub struct LeasePath {
    collection: String,
    object: String,
}

impl LeasePath {
    /// The paths of the Lease `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        Self {
            object: format!("{collection}/{name}"),
            collection,
        }
    }

    fn is(&self, path: &str) -> bool {
        path == self.object || path == self.collection
    }
}

/// Puts the fence in front of a client's requests. It belongs outside of layers that retry.
#[derive(Clone, Debug)]
pub struct FenceLayer {
    fence: Fence,
    lease_path: LeasePath,
}

impl<S> Layer<S> for FenceLayer {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Fenced {
            inner,
            fence: self.fence.clone(),
            lease_path: self.lease_path.clone(),
        }
    }
}

/// A client behind the fence.
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    inner: S,
    fence: Fence,
    lease_path: LeasePath,
}

impl<S, B, R> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let reads = request.method().is_safe();
        if reads || self.lease_path.is(request.uri().path()) {
            return Box::pin(self.inner.call(request).map(|answer| answer.map_err(Into::into)));
        }
        if !self.fence.is_open() {
            return Box::pin(async { Err(NotLeader.into()) });
        }
        let fence = self.fence.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                () = fence.wait_until_closed() => Err(NotLeader.into()),
                answer = answer => answer.map_err(Into::into),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tower::service_fn;

    use super::*;

    /// An API server that counts requests, behind the fence; it answers when `answers` does.
    async fn send(
        fence: &Fence,
        method: &str,
        path: &str,
        answers: impl Future<Output = ()> + Send + 'static,
    ) -> (bool, usize) {
        let requests = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(std::sync::Mutex::new(Some(answers)));
        let server = service_fn({
            let requests = Arc::clone(&requests);
            move |_: Request<()>| {
                requests.fetch_add(1, Ordering::Relaxed);
                let answers = answers.lock().unwrap().take().expect("one request");
                async move {
                    answers.await;
                    Ok::<_, BoxError>(Response::new(()))
                }
            }
        });
        let mut client = fence.layer(LeasePath::new("quay", "harbourmaster")).layer(server);
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let answer = client.call(request).await;
        if let Err(error) = &answer {
            assert!(error.is::<NotLeader>(), "{error}");
        }
        (answer.is_ok(), requests.load(Ordering::Relaxed))
    }

    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/quay/leases/harbourmaster";
    const SECRET: &str = "/api/v1/namespaces/quay/secrets/harbour";
    const SENT: (bool, usize) = (true, 1);
    const REFUSED: (bool, usize) = (false, 0);

    const VALID: Duration = Duration::from_secs(10);

    /// The moment that lies `ago` before now.
    fn before(ago: Duration) -> Moment {
        Moment {
            monotonic: Instant::now() - ago,
            wall: SystemTime::now() - ago,
        }
    }

    #[tokio::test]
    async fn only_reads_and_the_lease_go_through_a_closed_fence() {
        let fence = Fence::closed();
        for (method, path, expected) in [
            ("GET", SECRET, SENT),
            ("PUT", LEASE, SENT),
            (
                "POST",
                "/apis/coordination.k8s.io/v1/namespaces/quay/leases",
                SENT,
            ),
            ("PATCH", SECRET, REFUSED),
            ("DELETE", SECRET, REFUSED),
            ("POST", "/apis/events.k8s.io/v1/namespaces/quay/events", REFUSED),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/quay/leases/other",
                REFUSED,
            ),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/pier/leases/harbourmaster",
                REFUSED,
            ),
        ] {
            let got = send(&fence, method, path, async {}).await;
            assert_eq!(got, expected, "{method} {path}");
        }
        assert_eq!(send(&Fence::always_open(), "PATCH", SECRET, async {}).await, SENT);
    }

    #[tokio::test]
    async fn writes_end_at_the_deadline_and_go_on_after_a_renewal() {
        let fence = Fence::closed();
        for (sent, expected) in [(0, SENT), (9, SENT), (11, REFUSED), (1, SENT)] {
            fence.open(before(Duration::from_secs(sent)), VALID);
            let got = send(&fence, "PATCH", SECRET, async {}).await;
            assert_eq!(got, expected, "renewed {sent} s ago");
        }
        fence.close();
        assert_eq!(send(&fence, "PATCH", SECRET, async {}).await, REFUSED);
    }

    #[tokio::test]
    async fn a_write_without_an_answer_is_given_up_at_the_deadline() {
        let almost = VALID - Duration::from_millis(50);
        let fence = Fence::closed();
        fence.open(before(almost), VALID);
        let never = send(&fence, "PATCH", SECRET, std::future::pending());
        assert_eq!(never.await, (false, 1));
        // A renewal meanwhile moves the deadline.
        let sent = before(almost);
        let first_deadline = sent.monotonic + VALID;
        fence.open(sent, VALID);
        let renewal = fence.clone();
        let slow = send(&fence, "PATCH", SECRET, async move {
            renewal.open(Moment::now(), VALID);
            tokio::time::sleep_until(first_deadline + Duration::from_millis(20)).await;
        });
        assert_eq!(slow.await, SENT);
    }

    #[tokio::test]
    async fn a_machine_that_was_suspended_writes_nothing_before_the_next_renewal() {
        let fence = Fence::closed();
        let slept = Moment {
            monotonic: Instant::now(),
            wall: SystemTime::now() - Duration::from_secs(3600),
        };
        fence.open(slept, VALID);
        assert_eq!(send(&fence, "PATCH", SECRET, async {}).await, REFUSED);
        fence.open(Moment::now(), VALID);
        assert_eq!(send(&fence, "PATCH", SECRET, async {}).await, SENT);
    }
}
