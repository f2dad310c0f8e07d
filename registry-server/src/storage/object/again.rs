//! Requests of our own, beside the library's: a client for them, and trying again.

use std::time::{Duration, Instant};

use rand::Rng as _;

use super::{Certificates, Patience, StoreError};

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Asks, and asks again while the failure is one that may pass, as often and as long as there is patience.
pub(super) async fn again<T, E, F: Future<Output = Result<T, E>>>(
    patience: Patience,
    may_pass: impl Fn(&E) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, E> {
    let begun = Instant::now();
    let mut longest = patience.pause;
    for _ in 0..patience.retries {
        match ask().await {
            Err(error) if may_pass(&error) && begun.elapsed() + longest < patience.all => {
                // A pause, not a wait: an overloaded store has no condition that could be waited for. Of any length,
                // so that those who met do not meet again.
                let pause = rand::rng().random_range(longest / 2..=longest);
                tokio::time::sleep(pause).await;
                longest = (longest * 2).min(PAUSE_MAX);
            }
            result => return result,
        }
    }
    ask().await
}

impl Patience {
    /// A client that waits as long as the library's does.
    pub(super) fn http(
        self,
        section: &'static str,
        skip_verify: bool,
        certificates: &Certificates,
    ) -> Result<reqwest::ClientBuilder, StoreError> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(self.connect)
            .read_timeout(self.silence)
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

    const PATIENCE: Patience = Patience {
        connect: Duration::from_secs(1),
        silence: Duration::from_secs(1),
        all: Duration::from_secs(60),
        retries: 2,
        pause: Duration::from_millis(1),
    };

    #[tokio::test]
    async fn what_may_pass_is_tried_again_until_it_passes_or_patience_ends() {
        let asked = Cell::new(0);
        let fails = async |times: u32, patience: Patience, text: &'static str| {
            asked.set(0);
            let result = again(
                patience,
                |error: &&str| *error == "busy",
                || {
                    asked.set(asked.get() + 1);
                    let result = if asked.get() <= times { Err(text) } else { Ok(()) };
                    async move { result }
                },
            );
            (result.await, asked.get())
        };
        assert_eq!(fails(0, PATIENCE, "busy").await, (Ok(()), 1));
        assert_eq!(fails(2, PATIENCE, "busy").await, (Ok(()), 3));
        assert_eq!(fails(9, PATIENCE, "busy").await, (Err("busy"), 3));
        assert_eq!(fails(1, PATIENCE, "wrong").await, (Err("wrong"), 1));
        let hurried = Patience {
            all: Duration::ZERO,
            ..PATIENCE
        };
        assert_eq!(fails(1, hurried, "busy").await, (Err("busy"), 1));
    }
}
