//! Many ranges in one request, as partial pulls send them: the header has 17 kB.

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::program::Server;
use crate::pushing::push_blob;

#[tokio::test]
async fn a_thousand_ranges_are_answered_over_both_versions_of_http() {
    let server = Server::start("http: {addr: \"127.0.0.1:0\", h2c: {enabled: true}}\n");
    let content: String = (0..2_000_000_u32)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect();
    let digest = push_blob(&server, &content);
    let ranges: Vec<(usize, usize)> = (0..1024)
        .map(|at| (1_000_000 + at * 900, 1_000_000 + at * 900 + 9))
        .collect();
    let list: Vec<String> = ranges
        .iter()
        .map(|(first, last)| format!("{first}-{last}"))
        .collect();
    let header = format!("bytes={}", list.join(","));
    assert!(header.len() > 15_000);
    let path = format!("/v2/team/app/blobs/{digest}");
    let first = server.ask(&format!("GET {path} HTTP/1.1\r\nRange: {header}\r\n"));
    assert_eq!(first.status, 206, "{}", first.head);
    assert_eq!(
        first.header("content-length"),
        Some(first.body.len().to_string().as_str())
    );
    let kind = first.header("content-type").unwrap().to_owned();

    let stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://registry.test{path}"))
        .header("range", &header)
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let second = client.send_request(request).await.unwrap();
    assert_eq!(second.status(), 206);
    let other = second.headers()["content-type"].to_str().unwrap().to_owned();
    let second = second.into_body().collect().await.unwrap().to_bytes();

    for (kind, body) in [
        (kind, first.body),
        (other, String::from_utf8(second.to_vec()).unwrap()),
    ] {
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).skip(1).collect();
        assert_eq!(parts.len(), ranges.len() + 1);
        for ((first, last), part) in ranges.iter().zip(parts) {
            let (head, bytes) = part.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("bytes {first}-{last}/2000000")), "{head}");
            assert_eq!(bytes.trim_end_matches("\r\n"), &content[*first..=*last]);
        }
    }
}
