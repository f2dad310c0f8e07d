//! The party that must act on an error, and the text of an error with its causes.
//!
//! Guarantees: every step's error can be asked for its [`Fault`]; each cause stands in the text once. Must not: know a
//! step, so that every step can use this file. Start at [`Fault`].

use std::time::Duration;

/// The party that must act on an error. The conditions and the time of the next reconcile follow from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The author of the Registry must change it. Nothing happens until then.
    Caller,
    /// Somebody must create or correct another object. A watch reports that.
    Waiting,
    /// Nobody: the cause passes. The reconcile is retried with growing delays.
    Transient {
        /// The shortest delay that the API server asked for.
        retry_after: Option<Duration>,
    },
    /// The operator's developers: a bug, or a cluster that the operator does not understand. Retried slowly.
    Permanent,
}

impl Fault {
    /// The party that must act when a request to the API server fails.
    pub(crate) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                // After a conflict the watch brings the newer object, and the next reconcile starts from it.
                409 | 429 | 500..=599 => Self::Transient {
                    retry_after: retry_after(status),
                },
                // A namespace that is being deleted, a quota, an admission policy: a person has to change these.
                403 | 404 | 422 => Self::Waiting,
                _ => Self::Permanent,
            },
            _ => Self::Transient { retry_after: None },
        }
    }
}

fn retry_after(status: &kube::core::Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// An error and its causes on one line, joined by colons.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = message_of(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let message = message_of(cause);
        // kube repeats the cause in its own text.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = cause.source();
    }
    text
}

/// The text of one error without its causes. kube prints the API server's whole answer; its message is enough.
fn message_of(error: &(dyn std::error::Error + 'static)) -> String {
    let boxed = error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    let status = match boxed.or_else(|| error.downcast_ref::<kube::Error>()) {
        Some(kube::Error::Api(status)) => Some(status.as_ref()),
        _ => error
            .downcast_ref::<kube::core::Status>()
            .or_else(|| error.downcast_ref::<Box<kube::core::Status>>().map(AsRef::as_ref)),
    };
    status.map_or_else(|| error.to_string(), |status| status.message.clone())
}
