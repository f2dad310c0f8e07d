//! For tests: a store that gives prepared answers, for cases that no emulator allows.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// An answer: a status and a body, or a connection that ends without one.
pub(super) type Answer = Option<(u16, &'static str)>;

/// The headers of an object, as in every store.
const VERSION: &str = "ETag: \"7\"\r\nLast-Modified: Wed, 02 Sep 2020 07:40:43 GMT\r\n";

/// Starts a server that gives these answers in order, and records the first line and the body of each request.
pub(super) async fn answering(
    answers: impl IntoIterator<Item = Answer>,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (asked, answers) = (Arc::clone(&seen), answers.into_iter().collect::<Vec<_>>());
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(head.contains("\r\nauthorization: bearer "), "{head}");
            let length = head
                .split_once("\r\ncontent-length: ")
                .and_then(|(_, rest)| rest.split("\r\n").next())
                .map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            let line = head.lines().next().unwrap().trim_end_matches(" http/1.1");
            let request = format!("{line} {}", String::from_utf8(body).unwrap());
            asked.lock().unwrap().push(request.trim_end().to_owned());
            if let Some((status, body)) = answer {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\n{VERSION}Content-Length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (address, seen)
}
