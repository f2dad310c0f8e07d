//! The answer to a connection for which there is no room.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::listener::Stream;

/// What is said, in distribution's form. Over TLS nothing can be said before a handshake, which is more work than a
/// refusal is worth.
const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 86\r\n\
    Retry-After: 5\r\n\
    Connection: close\r\n\r\n\
    {\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"too many connections from this client\"}]}\n";

/// How many refused clients are waited for, so that they read the answer before the connection is reset.
const AT_ONCE: usize = 64;

/// How long a refused client may take to read the answer and to close.
const LINGER: Duration = Duration::from_secs(1);

/// Refuses connections, with bounded work.
#[derive(Debug)]
pub(super) struct Refusals(Arc<Semaphore>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Refusals {
    /// Says no where that is possible, and closes.
    pub(super) fn refuse(&self, mut stream: Stream, tls: bool) {
        let (false, Ok(place)) = (tls, Arc::clone(&self.0).try_acquire_owned()) else {
            return;
        };
        tokio::spawn(async move {
            let _place = place;
            let said = async {
                stream.write_all(ANSWER).await?;
                stream.shutdown().await?;
                // A connection that is closed with unread bytes is reset, and the answer lost.
                let mut request = [0; 1024];
                for _ in 0..64 {
                    if stream.read(&mut request).await? == 0 {
                        break;
                    }
                }
                std::io::Result::Ok(())
            };
            // It is refused either way.
            let _ = tokio::time::timeout(LINGER, said).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_a_whole_answer() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
