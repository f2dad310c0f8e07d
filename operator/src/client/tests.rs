use http_body_util::{Empty, StreamBody};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, WatchParams};

use super::*;
use crate::fault::{Fault, chain};

/// Short, because tests wait for it.
const LIMIT: Duration = Duration::from_millis(50);

/// A client whose API server answers as `answer` does, with time limits.
fn client<F, B>(answer: impl Fn(Request<Body>) -> F + Send + 'static, health: &Health) -> Client
where
    F: Future<Output = Result<Response<B>, Failure>> + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Failure>,
{
    let server = Client::new(tower::service_fn(answer), "quay");
    with_limit(&server, health, &Cache::default(), LIMIT)
}

fn maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "quay")
}

#[tokio::test]
async fn a_request_that_is_never_answered_ends() {
    let health = Health::default();
    let client = client(
        |_| std::future::pending::<Result<Response<Empty<Bytes>>, Failure>>(),
        &health,
    );
    let error = maps(client).get("harbour").await.unwrap_err();
    assert_eq!(Fault::of(&error), Fault::Transient { retry_after: None });
    let text = chain(&error);
    assert!(text.contains("the API server did not answer within"), "{text}");
}

#[tokio::test]
async fn an_answer_that_ends_in_the_middle_without_a_word_ends() {
    let health = Health::default();
    let half = |_| async {
        let first = futures_util::stream::iter([Ok::<_, Failure>(Frame::data(Bytes::from("{\"meta")))]);
        let rest = futures_util::stream::pending();
        let body = StreamBody::new(futures_util::StreamExt::chain(first, rest));
        Ok(Response::new(body))
    };
    let error = maps(client(half, &health)).get("harbour").await.unwrap_err();
    assert!(chain(&error).contains("did not answer"), "{}", chain(&error));
    assert_eq!(Fault::of(&error), Fault::Transient { retry_after: None });
}

#[tokio::test]
async fn a_watch_may_say_nothing_for_longer_than_a_request() {
    let health = Health::default();
    let quiet = |_| async {
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, Failure>>();
        Ok(Response::new(StreamBody::new(never)))
    };
    let maps = maps(client(quiet, &health));
    let mut events = Box::pin(maps.watch(&WatchParams::default(), "1").await.unwrap());
    let next = futures_util::StreamExt::next(&mut events);
    assert!(timeout(LIMIT * 4, next).await.is_err());
}

#[tokio::test]
async fn a_delay_that_the_api_server_asks_for_is_in_the_error() {
    for body in [
        "Too many requests, please try again later.\n",
        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Too many requests","reason":"TooManyRequests","code":429}"#,
    ] {
        let busy = move |_| async move {
            let answer = Response::builder().status(429).header("Retry-After", "7");
            Ok(answer.body(http_body_util::Full::new(Bytes::from(body)))?)
        };
        let health = Health::default();
        let error = maps(client(busy, &health))
            .list(&ListParams::default())
            .await
            .unwrap_err();
        let asked = Some(Duration::from_secs(7));
        assert_eq!(Fault::of(&error), Fault::Transient { retry_after: asked });
        assert!(
            chain(&error).starts_with("Too many requests"),
            "{}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn only_an_answer_that_shows_work_is_progress() {
    for (status, progress) in [
        (200, true),
        (403, true),
        (404, true),
        (409, true),
        (401, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let health = Health::default();
        let started = health.last_answer();
        let answer = move |_| async move {
            let body = http_body_util::Full::new(Bytes::from("{}"));
            Ok(Response::builder().status(status).body(body)?)
        };
        let _ = maps(client(answer, &health)).get("harbour").await;
        assert_eq!(health.last_answer() > started, progress, "{status}");
    }
}
