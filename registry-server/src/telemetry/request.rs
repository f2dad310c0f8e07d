//! What every line about a request says of it, under distribution's names.
//!
//! Kept beside the task rather than in a span: a request that logs nothing, which is nearly every one, pays for one
//! allocation and no text.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue, Method, Request as Message, Uri, header};
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::client_text::{self, shown};

tokio::task_local! {
    static REQUEST: Arc<Request>;
}

/// What is known of a request.
#[derive(Debug)]
pub struct Request {
    id: OnceLock<Uuid>,
    method: Method,
    uri: Uri,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    headers: [Option<HeaderValue>; 4],
    broken: AtomicBool,
}

/// The headers that are told.
const HEADERS: [HeaderName; 4] = [
    header::HOST,
    header::USER_AGENT,
    header::REFERER,
    header::CONTENT_TYPE,
];
/// And as what.
const NAMES: [&str; 4] = [
    "http.request.host",
    "http.request.useragent",
    "http.request.referer",
    "http.request.contenttype",
];

impl Request {
    /// Notes a request that came from `peer`, on behalf of `client`: the same, or somebody behind a proxy.
    pub fn new<B>(request: &Message<B>, peer: Option<SocketAddr>, client: Option<IpAddr>) -> Arc<Self> {
        Arc::new(Self {
            id: OnceLock::new(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            peer,
            client,
            headers: HEADERS.map(|name| request.headers().get(name).cloned()),
            broken: AtomicBool::new(false),
        })
    }

    /// Its body ended before it was whole: whoever sent it is gone.
    pub fn broke_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether its body ended before it was whole.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The number by which its lines are found. Made when somebody asks for it.
    pub fn id(&self) -> Uuid {
        *self.id.get_or_init(Uuid::new_v4)
    }

    /// Runs what is done for the request: lines written meanwhile on this task are about it.
    pub async fn scope<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        REQUEST.scope(self, work).await
    }

    /// The same for something that does not wait.
    pub fn enter<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        REQUEST.sync_scope(self, work)
    }
}

/// A header's text, as it may be logged.
fn header(text: &str) -> Value {
    shown(text, client_text::REQUEST_HEADER).into()
}

/// Spawns a task whose lines are about the request that is being answered here, if one is.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match REQUEST.try_with(Arc::clone) {
        Ok(request) => tokio::spawn(request.scope(work)),
        Err(_) => tokio::spawn(work),
    }
}

/// The same for work that may block its thread.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match REQUEST.try_with(Arc::clone) {
        Ok(request) => tokio::task::spawn_blocking(move || request.enter(work)),
        Err(_) => tokio::task::spawn_blocking(work),
    }
}

/// The fields of the request that is being answered here, if one is.
pub(super) fn fields(mut field: impl FnMut(&str, Value)) {
    // The error says that there is none.
    let _ = REQUEST.try_with(|request| {
        field("http.request.id", request.id().to_string().into());
        let method = shown(request.method.as_str(), client_text::METHOD);
        field("http.request.method", method.into());
        field(
            "http.request.uri",
            super::access::target(&request.uri, client_text::REQUEST_URI).into(),
        );
        // A proxy knows its client's address and not the port.
        match (request.client, request.peer) {
            (Some(client), Some(peer)) if client == peer.ip() => {
                field("http.request.remoteaddr", peer.to_string().into());
            }
            (Some(client), _) => field("http.request.remoteaddr", client.to_string().into()),
            (None, _) => {}
        }
        // HTTP/2 has the host in the target.
        if let (None, Some(authority)) = (&request.headers[0], request.uri.authority()) {
            field(NAMES[0], header(authority.as_str()));
        }
        for (name, value) in NAMES.iter().zip(&request.headers) {
            if let Some(value) = value {
                field(name, header(&String::from_utf8_lossy(value.as_bytes())));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Vec<(String, Value)> {
        let mut told = Vec::new();
        fields(|name, value| told.push((name.to_owned(), value)));
        told
    }

    #[tokio::test]
    async fn work_that_is_spawned_for_a_request_says_of_which_request_it_is() {
        let message = Message::get("/v2/")
            .header("user-agent", "crane")
            .body(())
            .unwrap();
        let request = Request::new(&message, None, None);
        let (spawned, blocking, here) = request
            .scope(async {
                let spawned = spawn(async {
                    tokio::task::yield_now().await;
                    (told(), spawn_blocking(told).await.unwrap())
                });
                let (spawned, blocking) = spawned.await.unwrap();
                (spawned, blocking, told())
            })
            .await;
        assert!(
            here.contains(&("http.request.useragent".to_owned(), "crane".into())),
            "{here:?}"
        );
        assert_eq!(spawned, here);
        assert_eq!(blocking, here);
        assert_eq!(spawn(async { told() }).await.unwrap(), []);
        assert_eq!(spawn_blocking(told).await.unwrap(), []);
    }
}
