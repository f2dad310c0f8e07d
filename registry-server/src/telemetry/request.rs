//! The log fields of the request that is being answered, under distribution's names.
//!
//! A task-local value holds them rather than a span of `tracing`: nearly every request logs nothing, and pays for one
//! allocation and no text.
//! Start at [`RequestInfo::scope`]; [`spawn`] and [`spawn_blocking`] take the fields along into other tasks.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::client_text::{self, sanitize};

tokio::task_local! {
    static REQUEST: Arc<RequestInfo>;
}

/// The facts about a request that its log lines give.
#[derive(Debug)]
pub struct RequestInfo {
    id: OnceLock<Uuid>,
    method: Method,
    uri: Uri,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    headers: [Option<HeaderValue>; 4],
    body_aborted: AtomicBool,
}

/// The headers that are logged.
const HEADERS: [HeaderName; 4] = [
    header::HOST,
    header::USER_AGENT,
    header::REFERER,
    header::CONTENT_TYPE,
];
/// The names of their fields.
const FIELD_NAMES: [&str; 4] = [
    "http.request.host",
    "http.request.useragent",
    "http.request.referer",
    "http.request.contenttype",
];

impl RequestInfo {
    /// A request that came from `peer` on behalf of `client`: the peer itself, or a client behind a proxy.
    pub fn new<B>(request: &Request<B>, peer: Option<SocketAddr>, client: Option<IpAddr>) -> Arc<Self> {
        Arc::new(Self {
            id: OnceLock::new(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            peer,
            client,
            headers: HEADERS.map(|name| request.headers().get(name).cloned()),
            body_aborted: AtomicBool::new(false),
        })
    }

    /// Notes that the client left before it had sent the whole body.
    pub fn body_was_aborted(&self) {
        self.body_aborted.store(true, Ordering::Relaxed);
    }

    /// Whether the client left before it had sent the whole body.
    pub fn is_body_aborted(&self) -> bool {
        self.body_aborted.load(Ordering::Relaxed)
    }

    /// The id of the request in its log lines, made at the first call.
    pub fn id(&self) -> Uuid {
        *self.id.get_or_init(Uuid::new_v4)
    }

    /// Runs a future that answers the request. Log lines of this task have the fields of the request meanwhile.
    pub async fn scope<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        REQUEST.scope(self, work).await
    }

    /// The same for a function.
    pub fn enter<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        REQUEST.sync_scope(self, work)
    }
}

/// The text of a header, fit for a log.
fn header_text(text: &str) -> Value {
    sanitize(text, client_text::REQUEST_HEADER).into()
}

/// Spawns a task. Its log lines have the fields of the request that is being answered here, if there is one.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match REQUEST.try_with(Arc::clone) {
        Ok(request) => tokio::spawn(request.scope(work)),
        Err(_) => tokio::spawn(work),
    }
}

/// The same for a function that may block its thread.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match REQUEST.try_with(Arc::clone) {
        Ok(request) => tokio::task::spawn_blocking(move || request.enter(work)),
        Err(_) => tokio::task::spawn_blocking(work),
    }
}

/// Gives `field` each field of the request that is being answered here, if there is one.
pub(super) fn fields(mut field: impl FnMut(&str, Value)) {
    // An error means that no request is being answered here.
    let _ = REQUEST.try_with(|request| {
        field("http.request.id", request.id().to_string().into());
        let method = sanitize(request.method.as_str(), client_text::METHOD);
        field("http.request.method", method.into());
        field(
            "http.request.uri",
            super::access_log::target(&request.uri, client_text::REQUEST_URI).into(),
        );
        // A proxy tells the address of its client, not the port.
        match (request.client, request.peer) {
            (Some(client), Some(peer)) if client == peer.ip() => {
                field("http.request.remoteaddr", peer.to_string().into());
            }
            (Some(client), _) => field("http.request.remoteaddr", client.to_string().into()),
            (None, _) => {}
        }
        // In HTTP/2 the host is part of the target.
        if let (None, Some(authority)) = (&request.headers[0], request.uri.authority()) {
            field(FIELD_NAMES[0], header_text(authority.as_str()));
        }
        for (name, value) in FIELD_NAMES.iter().zip(&request.headers) {
            if let Some(value) = value {
                field(name, header_text(&String::from_utf8_lossy(value.as_bytes())));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged_fields() -> Vec<(String, Value)> {
        let mut logged = Vec::new();
        fields(|name, value| logged.push((name.to_owned(), value)));
        logged
    }

    #[tokio::test]
    async fn work_that_is_spawned_for_a_request_says_of_which_request_it_is() {
        let get = Request::get("/v2/")
            .header("user-agent", "crane")
            .body(())
            .unwrap();
        let request = RequestInfo::new(&get, None, None);
        let (spawned, blocking, here) = request
            .scope(async {
                let spawned = spawn(async {
                    tokio::task::yield_now().await;
                    (logged_fields(), spawn_blocking(logged_fields).await.unwrap())
                });
                let (spawned, blocking) = spawned.await.unwrap();
                (spawned, blocking, logged_fields())
            })
            .await;
        assert!(
            here.contains(&("http.request.useragent".to_owned(), "crane".into())),
            "{here:?}"
        );
        assert_eq!(spawned, here);
        assert_eq!(blocking, here);
        assert_eq!(spawn(async { logged_fields() }).await.unwrap(), []);
        assert_eq!(spawn_blocking(logged_fields).await.unwrap(), []);
    }
}
