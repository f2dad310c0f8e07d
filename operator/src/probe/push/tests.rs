use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use operator_api::EndpointType;

use super::*;
use crate::http_server::{self, Answer};
use crate::pod_layout::IDENTITY_HEADER;

/// A registry in memory that does what a push and a pull need.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// `user:password`.
    login: Option<&'static str>,
    deletion: bool,
    /// Requests whose method and path begin like this are answered with this status.
    refuse: Option<(&'static str, u16)>,
    /// The value of the header `Location` of an upload.
    location: Option<&'static str>,
    /// Content is damaged on its way to the client.
    damaged: bool,
    /// The stored content, by path.
    stored: BTreeMap<String, Vec<u8>>,
    /// All requests: method, path, and whether there was a password.
    requests: Vec<(String, bool)>,
}

impl Fake {
    fn with(change: impl FnOnce(&mut State)) -> Self {
        let fake = Self::default();
        change(&mut fake.state());
        fake
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn start(&self) -> SocketAddr {
        let fake = self.clone();
        http_server::serve("127.0.0.1:0".parse().unwrap(), "a registry", move |request| {
            let fake = fake.clone();
            async move { fake.respond(request).await }
        })
        .unwrap()
    }

    async fn respond(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let path = head.uri.path().to_owned();
        let asked = format!("{} {path}", head.method);
        let password = head.headers.get(AUTHORIZATION).cloned();
        let mut state = self.state();
        state.requests.push((asked.clone(), password.is_some()));
        let login = state
            .login
            .map(|login| format!("Basic {}", STANDARD.encode(login)));
        let knows = login.is_none() || login.as_deref() == password.as_ref().and_then(|p| p.to_str().ok());
        let refused = state.refuse.filter(|(start, _)| asked.starts_with(start));
        let (status, location, content) = match (refused, knows, head.method.as_str()) {
            (Some((_, status)), ..) => (status, None, Vec::new()),
            (None, false, _) => (401, None, Vec::new()),
            (None, true, "POST") => (
                202,
                Some(
                    state
                        .location
                        .unwrap_or("/v2/berth-verify/blobs/uploads/7?_state=x"),
                ),
                body,
            ),
            (None, true, "PUT") => {
                let digest = head.uri.query().and_then(|query| query.split("digest=").nth(1));
                let key = match digest {
                    Some(digest) => format!("/v2/berth-verify/blobs/{}", digest.replace("%3A", ":")),
                    None => path,
                };
                state.stored.insert(key, body);
                (201, None, Vec::new())
            }
            (None, true, "DELETE") if state.deletion => {
                state
                    .stored
                    .retain(|key, _| *key != path && !key.ends_with("/verify"));
                (202, None, Vec::new())
            }
            (None, true, "DELETE") => (405, None, Vec::new()),
            (None, true, _) if path == "/v2/" => (200, None, Vec::new()),
            (None, true, _) => match state.stored.get(&path) {
                Some(bytes) if state.damaged => (200, None, [bytes, &b"!"[..]].concat()),
                Some(bytes) => (200, None, bytes.clone()),
                None => (404, None, Vec::new()),
            },
        };
        let mut answer = http::Response::builder()
            .status(status)
            .header("docker-distribution-api-version", "registry/2.0")
            .header(IDENTITY_HEADER, "4711");
        if let Some(location) = location {
            answer = answer.header(LOCATION, location);
        }
        answer.body(http_body_util::Full::new(content.into())).unwrap()
    }
}

/// A question about an address, with the user `crane` if there is a password.
fn question(scheme: &str, at: SocketAddr, password: Option<&str>, removable: bool) -> Question {
    Question {
        address: Address {
            type_: EndpointType::Ingress,
            url: format!("{scheme}://harbour.example:{}", at.port()),
            subject: "The Ingress controller".to_owned(),
            targets: vec!["127.0.0.1".to_owned()],
            unpublished: None,
            identity: "4711".to_owned(),
        },
        cas: String::new(),
        repository: "berth-verify".to_owned(),
        credentials: password.map(|password| Credentials {
            username: "crane".to_owned(),
            password: password.to_owned(),
        }),
        removable,
        request: Some("monday".to_owned()),
        served: "0123".to_owned(),
    }
}

async fn result(fake: &Fake, password: Option<&str>, removable: bool) -> Result<(), Hindrance> {
    push_and_pull(&question("http", fake.start(), password, removable)).await
}

#[tokio::test]
async fn an_artifact_is_pushed_pulled_and_removed_again() {
    let fake = Fake::with(|state| {
        state.deletion = true;
        state.login = Some("crane:anchor-7");
    });
    assert_eq!(result(&fake, Some("anchor-7"), true).await, Ok(()));
    let state = fake.state();
    assert!(state.stored.is_empty(), "{:?}", state.stored.keys());
    let asked: Vec<_> = state.requests.iter().map(|(asked, _)| asked.as_str()).collect();
    for needed in [
        "PUT /v2/berth-verify/manifests/verify",
        "GET /v2/berth-verify/manifests/verify",
    ] {
        assert!(asked.contains(&needed), "no {needed} in {asked:#?}");
    }
    // The first request shows who is there, before a password is sent.
    assert_eq!(state.requests[0], ("GET /v2/".to_owned(), false));
}

#[tokio::test]
async fn an_artifact_that_stays_is_the_same_each_time() {
    let fake = Fake::default();
    assert_eq!(result(&fake, None, false).await, Ok(()));
    let first: Vec<_> = fake.state().stored.keys().cloned().collect();
    let mut later = question("http", fake.start(), None, false);
    later.served = "4567".to_owned();
    assert_eq!(push_and_pull(&later).await, Ok(()));
    let second: Vec<_> = fake.state().stored.keys().cloned().collect();
    assert_eq!(first, second);
    assert_eq!(first.len(), 3, "{first:?}");
}

#[tokio::test]
async fn each_failure_names_the_address_its_cause_and_a_way_out_and_no_password() {
    type Case = (fn(&mut State), &'static str, &'static str);
    let cases: [Case; 6] = [
        (
            |state| state.login = Some("crane:else"),
            "LoginFailed",
            "`spec.verify.secret`",
        ),
        (
            |state| state.refuse = Some(("PUT /v2/berth-verify/blobs", 413)),
            "PushFailed",
            "raise the limit",
        ),
        (
            |state| state.refuse = Some(("PUT /v2/berth-verify/manifests", 500)),
            "PushFailed",
            "answered 500",
        ),
        (
            |state| state.location = Some("http://elsewhere.example/upload"),
            "WrongLocation",
            "`spec.publicURL`",
        ),
        (|state| state.damaged = true, "PullFailed", "other content"),
        (
            |state| state.refuse = Some(("DELETE", 403)),
            "RemovalFailed",
            "answered 403",
        ),
    ];
    for (change, reason, words) in cases {
        let fake = Fake::with(|state| {
            state.deletion = true;
            change(state);
        });
        let failure = result(&fake, Some("anchor-7"), true).await.unwrap_err();
        assert_eq!(failure.reason, reason, "{}", failure.message);
        assert!(failure.message.contains(words), "{}", failure.message);
        assert!(failure.message.contains("harbour.example"), "{}", failure.message);
        assert!(!failure.message.contains("anchor-7"), "{}", failure.message);
        let left: Vec<_> = fake.state().stored.keys().cloned().collect();
        assert!(left.is_empty() || reason == "RemovalFailed", "{reason}: {left:?}");
    }
}

#[tokio::test]
async fn a_password_is_sent_to_this_registry_alone() {
    let fake = Fake::default();
    let mut other = question("http", fake.start(), Some("anchor-7"), true);
    other.address.identity = "4712".to_owned();
    let failure = push_and_pull(&other).await.unwrap_err();
    assert_eq!(failure.reason, "OtherRegistry");
    let elsewhere = Fake::with(|state| state.location = Some("http://elsewhere.example/upload"));
    result(&elsewhere, Some("anchor-7"), false).await.unwrap_err();
    assert!(fake.state().requests.iter().all(|(_, password)| !password));
}

#[tokio::test]
async fn a_certificate_counts_when_clients_are_told_to_trust_its_ca() {
    for trusted in [false, true] {
        let (port, pem) = crate::probe::ask::tests::tls_server("harbour.example", 30).await;
        let mut question = question("https", SocketAddr::from(([127, 0, 0, 1], port)), None, true);
        question.cas = match trusted {
            true => pem,
            false => String::new(),
        };
        let failure = push_and_pull(&question).await.unwrap_err();
        // The server answers one request and no second.
        let expected = if trusted {
            "LoginFailed"
        } else {
            "CertificateNotTrusted"
        };
        assert_eq!(failure.reason, expected, "{}", failure.message);
    }
}
