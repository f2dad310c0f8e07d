//! Bodies that break off.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use super::*;

/// A body that sends some bytes and then breaks off, as when a client disconnects.
struct Broken {
    bytes: Option<Bytes>,
}

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(match self.bytes.take() {
            Some(bytes) => Ok(Frame::data(bytes)),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }))
    }
}

#[tokio::test]
async fn what_came_before_a_client_went_away_is_kept_and_the_upload_goes_on() {
    let server = server();
    let content = pattern(3_000_000);
    let digest = Digest::sha256(&content);
    for cut in [0, 1, 1_000_000, 2_500_000] {
        let location = start(&server, "a").await;
        let body = Broken {
            bytes: Some(Bytes::copy_from_slice(&content[..cut])),
        };
        let request = Request::patch(&location)
            .header("host", "registry.test")
            .header("content-length", 3_000_000);
        answer(&server.app, request.body(body).unwrap())
            .await
            .refuses(400, "SIZE_INVALID");
        let status = server.get(&location).await.is(204, &[]);
        assert_eq!(status.header("range"), format!("0-{}", cut.saturating_sub(1)));
        let rest = content[cut..].to_vec();
        let location = server
            .send("PATCH", &status.location(), &[], rest)
            .await
            .is(202, &[])
            .location();
        server
            .send("PUT", &format!("{location}&digest={digest}"), &[], "")
            .await
            .is(201, &[]);
        server
            .send("DELETE", &format!("/v2/a/blobs/{digest}"), &[], "")
            .await
            .is(202, &[]);
    }
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_refused_and_kept() {
    let server = server();
    let location = start(&server, "a").await;
    let request = Request::patch(&location)
        .header("host", "registry.test")
        .header("content-length", 10);
    let body = Full::new(Bytes::from("0123"));
    answer(&server.app, request.body(body).unwrap())
        .await
        .refuses(400, "SIZE_INVALID");
    server.get(&location).await.is(204, &[("range", "0-3")]);
}

/// The sending end of a body.
type Client = mpsc::UnboundedSender<Bytes>;

fn sending(
    request: http::request::Builder,
) -> (
    Client,
    Request<impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + Unpin + 'static>,
) {
    let (client, receiver) = mpsc::unbounded_channel::<Bytes>();
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok(Frame::data(bytes)), receiver))
    });
    let request = request.header("host", "registry.test");
    (client, request.body(StreamBody::new(Box::pin(frames))).unwrap())
}

/// A server with this idle timeout for bodies.
fn patient(timeout: Duration) -> Server {
    server_with(Settings::default(), |options| options.body_timeout = timeout)
}

/// Waits until the `Range` of an upload is this one.
async fn holds(server: &Server, location: &str, range: &str) {
    while server.get(location).await.header("range") != range {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_client_that_stops_sending_is_let_go_and_what_came_is_kept() {
    let server = patient(Duration::from_millis(500));
    let location = start(&server, "a").await;
    let (client, request) = sending(Request::patch(&location));
    client.send(Bytes::from_static(b"01234")).unwrap();
    answer(&server.app, request)
        .await
        .refuses(408, "SIZE_INVALID")
        .is(408, &[("connection", "close")]);
    assert!(client.is_closed());
    let location = server
        .get(&location)
        .await
        .is(204, &[("range", "0-4")])
        .location();
    let (client, request) = sending(Request::put(format!("{location}&digest={DIGEST}")));
    client.send(Bytes::from_static(b"56789")).unwrap();
    drop(client);
    answer(&server.app, request).await.is(201, &[("connection", "-")]);
}

#[tokio::test]
async fn a_client_that_stops_sending_a_manifest_or_trickles_it_is_let_go() {
    let server = patient(Duration::from_millis(200));
    for pause in [Duration::from_secs(600), Duration::from_millis(50)] {
        let put = Request::put("/v2/a/manifests/latest").header("content-type", OCI_MANIFEST);
        let (client, request) = sending(put);
        let trickle = async {
            loop {
                let _ = client.send(Bytes::from_static(b"{"));
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            answer = answer(&server.app, request) => {
                answer.refuses(408, "MANIFEST_INVALID").is(408, &[("connection", "close")]);
            }
            () = trickle => {}
        }
        assert!(client.is_closed());
    }
}

#[tokio::test]
async fn a_client_that_comes_again_takes_its_upload_over_from_the_request_that_hangs() {
    let server = Arc::new(patient(Duration::from_secs(600)));
    let location = start(&server, "a").await;
    let (client, hangs) = sending(Request::patch(&location));
    let hanging = tokio::spawn({
        let server = Arc::clone(&server);
        async move { answer(&server.app, hangs).await }
    });
    client.send(Bytes::from_static(b"01234")).unwrap();
    holds(&server, &location, "0-4").await;
    let fresh = server.get(&location).await.location();
    let answer = server.send("PATCH", &fresh, &[], "567").await;
    let location = answer.is(202, &[("range", "0-7")]).location();
    // The earlier request gets the response to a chunk out of order, with the progress of the upload.
    let old = hanging.await.unwrap().refuses(416, "RANGE_INVALID");
    assert_eq!(old.header("range"), "0-4");
    assert!(old.header("location").contains("/v2/a/blobs/uploads/"), "{old:?}");
    server
        .send("PUT", &format!("{location}&digest={DIGEST}"), &[], "89")
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn of_many_that_come_for_one_upload_all_are_answered_at_once_and_the_last_one_has_it() {
    let server = Arc::new(patient(Duration::from_secs(600)));
    let location = start(&server, "a").await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let (client, request) = sending(Request::patch(&location));
        let server = Arc::clone(&server);
        let answer = tokio::spawn(async move { answer(&server.app, request).await });
        clients.push((client, answer));
    }
    let (last, last_answer) = clients.pop().unwrap();
    for (_client, answer) in clients {
        answer.await.unwrap().refuses(416, "RANGE_INVALID");
    }
    last.send(Bytes::from_static(CONTENT)).unwrap();
    drop(last);
    last_answer.await.unwrap().is(202, &[("range", "0-9")]);
}

#[tokio::test]
async fn a_cancelled_upload_ends_the_request_that_hangs() {
    let server = Arc::new(patient(Duration::from_secs(600)));
    let location = start(&server, "a").await;
    let (client, hangs) = sending(Request::patch(&location));
    let hanging = tokio::spawn({
        let server = Arc::clone(&server);
        async move { answer(&server.app, hangs).await }
    });
    client.send(Bytes::from_static(b"01234")).unwrap();
    holds(&server, &location, "0-4").await;
    server.send("DELETE", &location, &[], "").await.is(204, &[]);
    hanging.await.unwrap().refuses(416, "RANGE_INVALID");
    assert_eq!(server.files(), BTreeMap::new());
}
