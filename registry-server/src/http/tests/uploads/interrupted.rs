//! Bodies that break off.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Frame;

use super::*;

/// A body that sends some bytes and then breaks off, as the one of a client that went away does.
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
