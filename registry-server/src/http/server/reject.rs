//! The response to a client that has too many connections already.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::stream::AcceptedStream;

/// The response, in distribution's form. Over TLS there is none: it would need a handshake, which costs more than a
/// rejection is worth.
const RESPONSE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 86\r\n\
    Retry-After: 5\r\n\
    Connection: close\r\n\r\n\
    {\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"too many connections from this client\"}]}\n";

/// How many clients get the response at the same time. Further connections are closed without one.
const CONCURRENT_MAX: usize = 64;

/// How long a client may take to read the response and to close.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Rejects connections with bounded work.
#[derive(Debug)]
pub(super) struct Rejector(Arc<Semaphore>);

impl Default for Rejector {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONCURRENT_MAX)))
    }
}

impl Rejector {
    /// Sends the response where that is possible, and closes the connection.
    pub(super) fn reject(&self, mut stream: AcceptedStream, tls: bool) {
        let (false, Ok(permit)) = (tls, Arc::clone(&self.0).try_acquire_owned()) else {
            return;
        };
        tokio::spawn(async move {
            let _permit = permit;
            let sent = async {
                stream.write_all(RESPONSE).await?;
                stream.shutdown().await?;
                // Closing a connection with unread bytes resets it, and the client loses the response.
                let mut request = [0; 1024];
                for _ in 0..64 {
                    if stream.read(&mut request).await? == 0 {
                        break;
                    }
                }
                std::io::Result::Ok(())
            };
            // The connection is rejected in any case.
            let _ = tokio::time::timeout(TIMEOUT, sent).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rejection_is_a_complete_response() {
        let text = std::str::from_utf8(RESPONSE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
