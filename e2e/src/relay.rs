//! A reverse proxy of the suite. Between a registry and its store it counts requests and injects faults; in front of
//! replicas it balances.
//!
//! Guarantees: path, query, headers (`Host` too, which S3's signatures cover) and bodies pass unchanged and streamed.
//! Each request goes to the next upstream that accepts connections. Every request that arrives is counted, whatever
//! its result. The relay's own errors have the form of the store's. Must not: repeat a request that was sent. Start
//! at [`Relay::start`].

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

mod operation;

pub(crate) use operation::{Counts, Dialect, Operation};

use crate::stores;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = BoxBody<Bytes, Failure>;

/// A fault that replaces the normal handling of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error of the store: status and code.
    Answer(u16, &'static str),
    /// The answer's body ends in the middle, and the connection with it.
    Cut,
    /// No answer ever comes.
    Hang,
    /// New connections are refused, and existing ones are closed.
    Refuse,
}

/// A fault, the requests it hits, and how many.
#[derive(Clone, Copy, Debug)]
struct FaultPlan {
    fault: Fault,
    /// The operations it hits; `None` means all.
    only: Option<&'static [Operation]>,
    /// The number of requests that pass before the fault begins.
    first: usize,
    /// The number of requests it still hits.
    left: usize,
}

/// A running proxy. It ends with all connections when it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstreams: Vec<SocketAddr>,
    /// A replacement for the value of `Host`.
    host: Option<HeaderValue>,
    next: AtomicUsize,
    counts: Mutex<Counts>,
    plan: watch::Sender<Option<FaultPlan>>,
}

impl Relay {
    /// Listens on a free port of the loopback interface and forwards to `upstreams` in turn.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) async fn start(upstreams: Vec<SocketAddr>) -> Result<Self> {
        Self::named(upstreams, None).await
    }

    /// A relay in front of one store. fake-gcs-server routes by `Host`, so `Host` becomes the store's own address;
    /// Google's signatures do not cover it.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) async fn before(store: &stores::StoreSetup) -> Result<Self> {
        let host = match store.kind() {
            stores::StoreKind::Gcs => Some(HeaderValue::from_str(&store.address().to_string())?),
            stores::StoreKind::Azure | stores::StoreKind::S3 => None,
        };
        Self::named(vec![store.address()], host).await
    }

    async fn named(upstreams: Vec<SocketAddr>, host: Option<HeaderValue>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port is free")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstreams,
            host,
            next: AtomicUsize::new(0),
            counts: Mutex::default(),
            plan: watch::Sender::new(None),
        });
        let task = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that arrived since the last call.
    pub(crate) fn take_counts(&self) -> Counts {
        std::mem::take(&mut *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of requests that arrived since the last call of [`Relay::take_counts`].
    pub(crate) fn seen(&self) -> usize {
        let counts = self.shared.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner).total()
    }

    /// The number of these requests with one operation.
    pub(crate) fn seen_of(&self, operation: Operation) -> usize {
        let counts = self.shared.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner).of(operation)
    }

    /// Makes every request fail with `fault` until [`Relay::heal`].
    pub(crate) fn fail_all(&self, fault: Fault) {
        self.set_plan(fault, None, 0, usize::MAX);
    }

    /// Lets `first` requests pass, and makes every later one fail with `fault` until [`Relay::heal`].
    pub(crate) fn fail_after(&self, first: usize, fault: Fault) {
        self.set_plan(fault, None, first, usize::MAX);
    }

    /// Makes the next `times` requests of these operations fail with `fault`.
    pub(crate) fn fail_next(&self, only: &'static [Operation], times: usize, fault: Fault) {
        self.set_plan(fault, Some(only), 0, times);
    }

    /// The number of faults still to come; `None` when none are planned.
    pub(crate) fn faults_left(&self) -> Option<usize> {
        self.shared.plan.borrow().map(|plan| plan.left)
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        self.shared.plan.send_replace(None);
    }

    fn set_plan(&self, fault: Fault, only: Option<&'static [Operation]>, first: usize, left: usize) {
        let plan = FaultPlan {
            fault,
            only,
            first,
            left,
        };
        self.shared.plan.send_replace(Some(plan));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The task owns its connections, so they end with it.
        self.task.abort();
    }
}

impl Shared {
    /// The fault for this request, if one is planned. A planned fault is counted down.
    fn fault(&self, operation: Operation) -> Option<Fault> {
        let mut found = None;
        self.plan.send_if_modified(|slot| {
            if let Some(plan) = slot
                && plan.only.is_none_or(|only| only.contains(&operation))
                && plan.left > 0
            {
                match plan.first.checked_sub(1) {
                    Some(first) => plan.first = first,
                    None => {
                        plan.left -= 1;
                        found = Some(plan.fault);
                    }
                }
            }
            // No reader waits for this change.
            false
        });
        found
    }

    fn refuses(&self) -> bool {
        self.plan.borrow().is_some_and(|plan| plan.fault == Fault::Refuse)
    }

    /// A connection to the next upstream that accepts one.
    async fn connect(&self) -> Result<TcpStream> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut last = None;
        for turn in 0..self.upstreams.len() {
            match TcpStream::connect(self.upstreams[(first + turn) % self.upstreams.len()]).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| anyhow::anyhow!("no upstream"), Into::into))
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut changes = shared.plan.subscribe();
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        changes.mark_unchanged();
        if shared.refuses() {
            drop(listener.take());
            connections.shutdown().await;
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => match TcpListener::bind(address).await {
                Ok(open) => open,
                // The old socket is not closed yet.
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            accepted = open.accept() => if let Ok((stream, _)) = accepted {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    // A client that hangs up, or a cut body, is what the case wants.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            },
            // Ended connections are removed here.
            Some(_) = connections.join_next() => {}
        }
        listener = Some(open);
    }
}

async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (operation, dialect) = (Operation::of(&request), Dialect::of(&request));
    shared
        .counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(operation);
    let fault = shared.fault(operation);
    match fault {
        Some(Fault::Hang | Fault::Refuse) => std::future::pending().await,
        Some(Fault::Answer(status, code)) => {
            // The body is read to its end, as a store does; an early answer would be a fault of its own.
            let _ = request.into_body().collect().await;
            Ok(error(dialect, status, code))
        }
        Some(Fault::Cut) | None => {
            if let Some(host) = &shared.host {
                request.headers_mut().insert(HOST, host.clone());
            }
            Ok(match forward(&shared, request).await {
                Ok(answer) if fault.is_some() => answer.map(cut),
                Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed()),
                Err(_) => error(dialect, 502, "BadGateway"),
            })
        }
    }
}

async fn forward(shared: &Shared, request: Request<Incoming>) -> Result<Response<Incoming>> {
    let stream = TokioIo::new(shared.connect().await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let mut answer = sender.send_request(request).await?;
    // This header is about the connection to the upstream.
    answer.headers_mut().remove(CONNECTION);
    Ok(answer)
}

/// The first half of a body, then an error that ends the connection.
fn cut(body: Incoming) -> Body {
    let left = hyper::body::Body::size_hint(&body).lower() / 2;
    let frames = stream::unfold((body.into_data_stream(), Some(left)), async |(mut data, left)| {
        let left = left?;
        let bytes = match data.next().await {
            Some(Ok(bytes)) if left > 0 => bytes,
            _ => {
                // hyper sends what it has when the body has nothing yet.
                tokio::task::yield_now().await;
                return Some((Err("cut".into()), (data, None)));
            }
        };
        let taken = bytes.slice(..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        let left = left - taken.len() as u64;
        Some((Ok::<_, Failure>(Frame::data(taken)), (data, Some(left))))
    });
    BoxBody::new(StreamBody::new(frames))
}

/// An error in the store's form.
fn error(dialect: Dialect, status: u16, code: &'static str) -> Response<Body> {
    const SAID: &str = "made by the suite";
    let text = match dialect {
        Dialect::Azure | Dialect::S3 => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{SAID}</Message></Error>"
        ),
        Dialect::Google => json!({"error": {
            "code": status,
            "message": SAID,
            "errors": [{"domain": "global", "reason": code, "message": SAID}],
        }})
        .to_string(),
    };
    let mut answer = Response::new(Full::from(text).map_err(|never| match never {}).boxed());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if dialect == Dialect::Azure {
        let code = HeaderValue::from_static(code);
        answer.headers_mut().insert("x-ms-error-code", code);
    }
    answer
}

#[cfg(test)]
mod tests;
