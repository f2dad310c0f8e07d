//! Waiting for a condition, with a deadline.
//!
//! Guarantees: a wait ends at its deadline with the last state seen in the error.
//! Start at [`wait_for`].

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The result of one check of the condition.
#[derive(Debug)]
pub enum Seen<T> {
    /// The condition holds.
    Done(T),
    /// Not yet; the text describes the present state.
    NotYet(String),
    /// The condition can never hold; waiting longer would only hide the reason.
    Never(anyhow::Error),
}

/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(150);

/// Checks repeatedly until the condition holds. An error of a check counts as "not yet".
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
