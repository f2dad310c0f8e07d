//! A server between the operator and the API server, which injects faults: whatever layers the operator's client has,
//! this lies under them.
//!
//! Guarantees: without a rule every request passes unchanged, and watches are streamed. The rule sees each request
//! before it is forwarded, one after the other. Nothing passes any more after [`Fault::Crash`]. Must not: repeat a
//! request. Start at [`Relay::start`] and [`Fault`].

mod call;
mod events;
mod random;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use call::{Call, Verb};
pub(crate) use random::Seed;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Failure>;

/// The handling of a request that replaces its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The API server is not asked; the answer is this status, with `Retry-After` in seconds.
    Answer(StatusCode, Option<u16>),
    /// The API server is not asked, and no answer ever comes.
    NoAnswer,
    /// The API server is asked; the connection ends before the answer.
    LostAnswer,
    /// The API server is asked; the connection ends in the middle of the answer's body.
    CutBody,
    /// The API server is not asked: the answer is that of the last but one request for the same URL. Reads only.
    StaleAnswer,
    /// A watch whose events are held for a while; of the events of one object only the last arrives.
    MergedEvents,
    /// A watch that loses every event, and after a while ends with 410.
    LostEvents,
    /// The API server is asked, and then the operator is dead: neither this answer nor any later request passes.
    Crash,
}

/// Decides about each request.
pub(crate) type Rule = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// A running relay. It ends with all connections when it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: Client,
    state: Mutex<State>,
    /// Whether connections are accepted and kept.
    up: watch::Sender<bool>,
}

struct State {
    rule: Rule,
    /// The requests so far.
    calls: Vec<Call>,
    writes: usize,
    crashed: bool,
    /// The last two answers to each read.
    answers: HashMap<String, [Option<Recorded>; 2]>,
}

#[derive(Clone)]
struct Recorded {
    status: StatusCode,
    body: Bytes,
}

impl Relay {
    /// Listens on a free port of the loopback interface, and forwards with the rights of `config`.
    ///
    /// # Errors
    /// No port is free, or the configuration cannot be used.
    pub(crate) async fn start(mut config: Config) -> Result<Self> {
        config.default_retry = false;
        let upstream = Client::try_from(config).context("cannot make the relay's client")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port is free")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(State {
                rule: Box::new(|_| None),
                calls: Vec::new(),
                writes: 0,
                crashed: false,
                answers: HashMap::new(),
            }),
            up: watch::Sender::new(true),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// The configuration of a client that goes through the relay.
    pub(crate) fn config(&self) -> Result<Config> {
        Ok(Config::new(format!("http://{}", self.address).parse()?))
    }

    /// Sets the rule for the requests from now on.
    pub(crate) fn rule(&self, rule: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.shared.state().rule = Box::new(rule);
    }

    /// Lets every request pass from now on.
    pub(crate) fn no_faults(&self) {
        self.rule(|_| None);
    }

    /// Ends all connections, and closes new ones at once.
    pub(crate) fn disconnect(&self) {
        self.shared.up.send_replace(false);
    }

    /// Accepts connections again.
    pub(crate) fn connect(&self) {
        self.shared.up.send_replace(true);
    }

    /// Waits for [`Fault::Crash`], until the API server has answered the last request.
    pub(crate) async fn crashed(&self) {
        let mut up = self.shared.up.subscribe();
        // The sender lives as long as `self`.
        let _ = up.wait_for(|up| !up).await;
    }

    /// The requests so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// The number of writes so far, renewals of Leases not counted.
    pub(crate) fn writes(&self) -> usize {
        self.shared.state().writes
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the request and asks the rule. `Err` after a crash.
    fn decide(&self, mut call: Call) -> Result<Option<Fault>, Failure> {
        let mut state = self.state();
        if state.crashed {
            return Err("the operator is dead".into());
        }
        if call.is_write() {
            state.writes += 1;
            call.write = state.writes;
        }
        call.number = state.calls.len() + 1;
        let fault = (state.rule)(&call);
        state.crashed = fault == Some(Fault::Crash);
        state.calls.push(call);
        Ok(fault)
    }

    fn record(&self, url: &str, answer: Recorded) {
        let mut state = self.state();
        let answers = state.answers.entry(url.to_owned()).or_default();
        answers.swap(0, 1);
        answers[1] = Some(answer);
    }

    fn stale(&self, url: &str) -> Option<Recorded> {
        let state = self.state();
        let [before_last, last] = state.answers.get(url)?;
        before_last.clone().or_else(|| last.clone())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        if *shared.up.borrow() {
            connections.spawn(serve(stream, Arc::clone(&shared)));
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it, each small answer would wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut up = shared.up.subscribe();
    let answer = service_fn(|request| answer(Arc::clone(&shared), request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        _ = connection => {}
        _ = up.wait_for(|up| !up) => {}
    }
}

/// An error ends the connection without an answer.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let call = Call::of(&request);
    let url = request.uri().to_string();
    match shared.decide(call.clone())? {
        None => forward(&shared, &call, &url, request).await,
        Some(Fault::Answer(status, retry_after)) => Ok(refusal(status, retry_after)),
        Some(Fault::NoAnswer) => std::future::pending().await,
        Some(Fault::LostAnswer) => {
            forward(&shared, &call, &url, request).await?;
            Err("the answer is lost".into())
        }
        Some(Fault::Crash) => {
            let last = forward(&shared, &call, &url, request).await;
            shared.up.send_replace(false);
            last.and(Err("the operator is dead".into()))
        }
        Some(Fault::CutBody) => Ok(cut(forward(&shared, &call, &url, request).await?)),
        Some(Fault::StaleAnswer) => match shared.stale(&url) {
            Some(Recorded { status, body }) => Ok(json_answer(status, whole(body))),
            None => forward(&shared, &call, &url, request).await,
        },
        Some(Fault::MergedEvents) => Ok(forward(&shared, &call, &url, request).await?.map(events::merged)),
        Some(Fault::LostEvents) => Ok(forward(&shared, &call, &url, request).await?.map(events::lost)),
    }
}

async fn forward(
    shared: &Shared,
    call: &Call,
    url: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = request.into_parts();
    // The address is that of the relay, and so would be the signature of a compressed answer.
    for name in [header::HOST, header::CONNECTION, header::ACCEPT_ENCODING] {
        parts.headers.remove(name);
    }
    let body = body.collect().await?.to_bytes();
    let request = Request::from_parts(parts, kube::client::Body::from(body));
    let answer = shared.upstream.send(request).await?;
    if !call.is_read() {
        return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
    }
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    let recorded = Recorded {
        status: parts.status,
        body: body.clone(),
    };
    shared.record(url, recorded);
    Ok(Response::from_parts(parts, whole(body)))
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn json_answer(status: StatusCode, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// A refusal as the API server words it.
fn refusal(status: StatusCode, retry_after: Option<u16>) -> Response<Body> {
    let reason = match status.as_u16() {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        _ => "",
    };
    let text = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": status.as_u16(), "reason": reason, "message": "injected by a test",
    });
    let mut answer = json_answer(status, whole(Bytes::from(text.to_string())));
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

/// Half of the first part of the body, and then the end of the connection.
fn cut(answer: Response<Body>) -> Response<Body> {
    answer.map(|body| {
        let first = body.into_data_stream().take(1).map(|part| {
            let part = part?;
            Ok(Frame::data(part.slice(..part.len() / 2)))
        });
        let end = stream::iter([Err(Failure::from("the body is cut"))]);
        StreamBody::new(first.chain(end)).boxed_unsync()
    })
}
