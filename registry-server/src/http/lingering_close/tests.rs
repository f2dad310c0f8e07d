use std::convert::Infallible;

use http_body_util::{Full, StreamBody};
use tokio::sync::mpsc;

use super::*;

/// The sending end of a body.
type Client = mpsc::UnboundedSender<Bytes>;

fn body() -> (
    Client,
    impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
) {
    let (client, receiver) = mpsc::unbounded_channel::<Bytes>();
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok(Frame::data(bytes)), receiver))
    });
    (client, StreamBody::new(Box::pin(frames)))
}

/// Bounds that no test reaches.
const WIDE: Bounds = Bounds {
    bytes: u64::MAX,
    time: Duration::from_secs(600),
    idle: Duration::from_secs(600),
    shutdown: Duration::from_secs(600),
    connections: 2,
    before_response: Duration::ZERO,
};

fn lingering_close(bounds: Bounds) -> LingeringClose {
    LingeringClose::within(bounds, Arc::default())
}

fn head(request: http::request::Builder) -> RequestHead {
    RequestHead::of(&request.body(()).unwrap().into_parts().0)
}

fn is_closed(response: &Response<()>) -> bool {
    response
        .headers()
        .get(CONNECTION)
        .is_some_and(|value| value == "close")
}

/// A client that is refused before its body is read.
async fn refused(lingering_close: &LingeringClose) -> Client {
    let (client, body) = body();
    let (body, unread) = UnreadBody::track(body);
    drop(body);
    let mut response = Response::new(());
    lingering_close
        .finish(&head(http::Request::builder()), unread, &mut response)
        .await;
    assert!(is_closed(&response), "the length of the rest is unknown");
    client
}

#[tokio::test]
async fn a_client_that_goes_on_sending_is_answered_first_and_read_from_within_bounds() {
    let lingering_close = lingering_close(Bounds { bytes: 1000, ..WIDE });
    let client = refused(&lingering_close).await;
    let mut sent = 0;
    while client.send(Bytes::from(vec![0; 100])).is_ok() {
        sent += 1;
        tokio::task::yield_now().await;
    }
    assert!(sent > 10, "{sent}");
    client.closed().await;
    while lingering_close.permits.available_permits() < WIDE.connections {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_that_says_nothing_more_or_trickles_is_let_go() {
    let soon = Duration::from_millis(30);
    for bounds in [Bounds { idle: soon, ..WIDE }, Bounds { time: soon, ..WIDE }] {
        let client = refused(&lingering_close(bounds)).await;
        client.send(Bytes::from("x")).unwrap();
        client.closed().await;
    }
}

#[tokio::test]
async fn only_so_many_are_read_from_at_once_and_a_stop_ends_them_soon() {
    let soon = Duration::from_millis(30);
    let lingering_close = lingering_close(Bounds {
        shutdown: soon,
        ..WIDE
    });
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(refused(&lingering_close).await);
    }
    assert_eq!(clients.iter().filter(|client| client.is_closed()).count(), 3);
    lingering_close.draining.store(true, Ordering::Relaxed);
    for client in &clients {
        // One that goes on sending ends, too.
        let _ = client.send(Bytes::from("x"));
        client.closed().await;
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_a_small_rest_and_closes_after_a_large_one() {
    let request = http::Request::builder;
    let expects = || request().header(EXPECT, "100-Continue");
    let http2 = || request().version(Version::HTTP_2);
    for (name, size, read, request, closed) in [
        ("all was read", 1 << 20, 2, request(), false),
        ("little is left", 100, 0, request(), false),
        ("much is left", 1 << 20, 0, request(), true),
        ("the client waits", 100, 0, expects(), true),
        ("there is no body", 0, 0, expects(), false),
        ("HTTP/2 needs none of this", 1 << 20, 0, http2(), false),
    ] {
        let (mut body, unread) = UnreadBody::track(Full::new(Bytes::from(vec![0; size])));
        for _ in 0..read {
            let _ = body.frame().await;
        }
        drop(body);
        let mut response = Response::new(());
        lingering_close(WIDE)
            .finish(&head(request), unread, &mut response)
            .await;
        assert_eq!(is_closed(&response), closed, "{name}");
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_a_short_body_that_did_not_say_its_length() {
    let lingering_close = lingering_close(Bounds {
        before_response: Duration::from_secs(600),
        ..WIDE
    });
    for (name, sizes, closed) in [
        ("it ends soon", vec![10, 10], false),
        ("it is long", vec![200 << 10, 200 << 10], true),
    ] {
        let (client, body) = body();
        let (body, unread) = UnreadBody::track(body);
        drop(body);
        for size in sizes {
            client.send(Bytes::from(vec![0; size])).unwrap();
        }
        drop(client);
        let mut response = Response::new(());
        lingering_close
            .finish(&head(http::Request::builder()), unread, &mut response)
            .await;
        assert_eq!(is_closed(&response), closed, "{name}");
    }
}

#[tokio::test]
async fn after_a_body_that_took_too_long_the_connection_closes() {
    let (body, unread) = UnreadBody::track(Full::new(Bytes::new()));
    drop(body);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    lingering_close(WIDE)
        .finish(&head(http::Request::builder()), unread, &mut response)
        .await;
    assert!(is_closed(&response));
}
