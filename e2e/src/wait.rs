//! Waiting for a condition instead of for a time.
//!
//! Guarantees: a wait ends at its deadline with the last state seen in the error.
//! Start at [`wait_for`].

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What one look at the condition found.
#[derive(Debug)]
pub enum Seen<T> {
    /// The condition holds.
    Done(T),
    /// Not yet; the text says what is there instead.
    NotYet(String),
    /// It will never hold: waiting on would only hide the reason.
    Never(anyhow::Error),
}

/// How long one look waits for the next.
const PAUSE: Duration = Duration::from_millis(150);

/// Looks again and again until the condition holds. An error of a look counts as "not yet".
///
/// # Errors
/// The deadline passed; the message holds what was awaited and the last state seen.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match look().await {
            Ok(Seen::Done(value)) => return Ok(value),
            Ok(Seen::NotYet(state)) => state,
            Ok(Seen::Never(error)) => return Err(error.context(format!("gave up waiting for {what}"))),
            Err(error) => format!("{error:#}"),
        };
        if start.elapsed() > deadline {
            bail!("waited {} s for {what}; last seen: {last}", deadline.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
