//! Retries, and the HTTP client, of requests that the library does not have.

use std::time::{Duration, Instant};

use rand::Rng as _;

use super::client::Timeouts;
#[cfg(any(feature = "gcs", feature = "s3"))]
use super::client::{Certificates, StoreError};

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Makes a request, and makes it again while it fails for a temporary reason, within the timeouts.
pub(super) async fn retry<T, E, F: Future<Output = Result<T, E>>>(
    timeouts: Timeouts,
    is_temporary: impl Fn(&E) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, E> {
    let begun = Instant::now();
    let mut longest = timeouts.backoff;
    for _ in 0..timeouts.retries {
        match ask().await {
            Err(error) if is_temporary(&error) && begun.elapsed() + longest < timeouts.total => {
                // A pause, since an overloaded store has no condition to wait for. Its length is random, so that requests
                // that collided do not collide again.
                let pause = rand::rng().random_range(longest / 2..=longest);
                tokio::time::sleep(pause).await;
                longest = (longest * 2).min(PAUSE_MAX);
            }
            result => return result,
        }
    }
    ask().await
}

#[cfg(any(feature = "gcs", feature = "s3"))]
impl Timeouts {
    /// An HTTP client with the same timeouts as the library's.
    pub(super) fn http(
        self,
        section: &'static str,
        skip_verify: bool,
        certificates: &Certificates,
    ) -> Result<reqwest::ClientBuilder, StoreError> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(self.connect)
            .read_timeout(self.read)
            .tls_danger_accept_invalid_certs(skip_verify);
        for certificate in &certificates.0 {
            let certificate = reqwest::Certificate::from_der(certificate)
                .map_err(|source| StoreError::Tls { section, source })?;
            client = client.tls_certs_merge([certificate]);
        }
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        connect: Duration::from_secs(1),
        read: Duration::from_secs(1),
        total: Duration::from_secs(60),
        retries: 2,
        backoff: Duration::from_millis(1),
    };

    #[tokio::test]
    async fn a_temporary_failure_is_retried_until_it_passes_or_time_is_up() {
        let asked = Cell::new(0);
        let fails = async |times: u32, timeouts: Timeouts, text: &'static str| {
            asked.set(0);
            let result = retry(
                timeouts,
                |error: &&str| *error == "busy",
                || {
                    asked.set(asked.get() + 1);
                    let result = if asked.get() <= times { Err(text) } else { Ok(()) };
                    async move { result }
                },
            );
            (result.await, asked.get())
        };
        assert_eq!(fails(0, TIMEOUTS, "busy").await, (Ok(()), 1));
        assert_eq!(fails(2, TIMEOUTS, "busy").await, (Ok(()), 3));
        assert_eq!(fails(9, TIMEOUTS, "busy").await, (Err("busy"), 3));
        assert_eq!(fails(1, TIMEOUTS, "wrong").await, (Err("wrong"), 1));
        let hurried = Timeouts {
            total: Duration::ZERO,
            ..TIMEOUTS
        };
        assert_eq!(fails(1, hurried, "busy").await, (Err("busy"), 1));
    }
}
