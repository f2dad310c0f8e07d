//! The example `embed` serves a registry inside another program: here, inside this test.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use registry_oci::Digest;
use registry_server::http::server::Stop;

#[path = "../examples/embed.rs"]
#[expect(dead_code, reason = "the example has a `main` of its own")]
mod embed;

async fn ask(address: &str, method: &str, path: &str, body: &'static [u8]) -> (u16, Bytes) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("content-type", "application/octet-stream")
        .body(Full::new(Bytes::from_static(body)))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_registry_inside_another_program_takes_a_blob_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::default();
    let (address, running) = embed::serve(folder.path(), stop.clone()).await.unwrap();
    let digest = Digest::sha256(b"layer");
    let push = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    assert_eq!(ask(&address, "POST", &push, b"layer").await.0, 201);
    let pull = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(ask(&address, "GET", &pull, b"").await, (200, "layer".into()));
    stop.stop();
    running.await.unwrap();
}
