use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::UnixStream;

use super::connection_metrics::ConnectionMetrics;
use super::stream::AcceptedStream;
use super::timeout_stream::TimeoutStream;
use super::write_timeout::WriteTimeout;
use crate::http::ResponseMemory;

const LONG: Duration = Duration::from_secs(3600);

fn write_timeout(timeout: Duration) -> WriteTimeout {
    WriteTimeout {
        timeout,
        memory: ResponseMemory::new(16 << 20),
        metrics: ConnectionMetrics::default(),
        peer: None,
    }
}

#[tokio::test]
async fn a_client_that_sends_no_whole_request_in_time_is_given_up() {
    let (mut client, server) = duplex(64);
    let mut server = TimeoutStream::new(
        server,
        Duration::from_millis(50),
        Arc::default(),
        write_timeout(LONG),
    );
    client.write_all(b"GET").await.unwrap();
    assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 3);
    let error = server.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn after_the_first_request_an_upload_may_take_as_long_as_it_likes() {
    let (mut client, server) = duplex(64);
    let request_seen = Arc::new(AtomicBool::new(false));
    let limit = Duration::from_millis(20);
    let mut server = TimeoutStream::new(server, limit, Arc::clone(&request_seen), write_timeout(LONG));
    request_seen.store(true, Ordering::Relaxed);
    let mut buffer = [0; 16];
    // Longer than the limit: nothing may come of it.
    assert!(
        tokio::time::timeout(limit * 5, server.read(&mut buffer))
            .await
            .is_err()
    );
    client.write_all(b"late").await.unwrap();
    assert_eq!(server.read(&mut buffer).await.unwrap(), 4);
}

#[tokio::test]
async fn what_was_read_ahead_comes_first() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let mut server = AcceptedStream::unix(server);
    client.write_all(b"PRI * HTTP").await.unwrap();
    drop(client);
    assert!(server.starts_with(b"PRI *").await);
    assert!(!server.starts_with(b"PRI * HTTP/2.0").await);
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "PRI * HTTP");
}

#[tokio::test]
async fn one_read_takes_a_bounded_part_of_what_a_client_sends() {
    let (mut client, server) = duplex(1 << 20);
    let mut server = TimeoutStream::new(server, LONG, Arc::default(), write_timeout(LONG));
    let sent: Vec<u8> = (0..1 << 20).map(|position: u32| position as u8).collect();
    client.write_all(&sent).await.unwrap();
    drop(client);
    let mut buffer = vec![0; 1 << 20];
    let mut received = Vec::new();
    loop {
        let count = server.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        assert!(count <= 32 << 10, "{count} bytes in one read");
        received.extend_from_slice(&buffer[..count]);
    }
    assert!(received == sent);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    // Kept open, and never read.
    let (_client, server) = duplex(64);
    let limit = Duration::from_millis(20);
    let mut server = TimeoutStream::new(server, LONG, Arc::default(), write_timeout(limit));
    let error = server.write_all(&[0; 640]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
