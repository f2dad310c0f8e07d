//! What can keep a pass from its end, and who must act.

use std::time::Duration;

use crate::{apply, issue, read, report, validate};

/// Who must act, which decides the conditions and when the next pass comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The author of the Registry, by changing it: nothing happens until it changes.
    Caller,
    /// Somebody, by making an object that is missing or mending one that is wrong: the watch tells.
    Waiting,
    /// Nobody: it passes. Tried again with growing pauses.
    Transient {
        /// The least pause the API server asked for.
        retry_after: Option<Duration>,
    },
    /// Us: a bug, or a cluster we do not understand. Looked at again slowly.
    Permanent,
}

/// A pass that did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not give what a pass needs to know.
    #[error("cannot read what the Registry depends on")]
    Read(#[from] read::Error),
    /// The Registry cannot become objects yet, or at all.
    #[error("the Registry cannot be brought up as it is")]
    Validate(#[from] validate::Error),
    /// Keys or certificates could not be made.
    #[error("cannot make certificates")]
    Issue(#[from] issue::Error),
    /// The API server did not take an object.
    #[error("cannot bring the Registry's objects up to date")]
    Apply(#[from] apply::Error),
    /// The API server did not take the status.
    #[error("cannot write the status")]
    Report(#[from] report::Error),
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read(error) => error.fault(),
            Self::Validate(error) => error.fault(),
            Self::Issue(_) => Fault::Permanent,
            Self::Apply(error) => error.fault(),
            Self::Report(error) => error.fault(),
        }
    }
}

/// Who must act when a request to the API server fails.
pub(crate) fn fault_of(error: &kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => match status.code {
            // The watch brings the newer object; the next pass starts from it.
            409 | 429 | 500..=599 => Fault::Transient {
                retry_after: retry_after(status),
            },
            // A namespace that is being deleted, a quota, an admission policy: only people change these, but they do.
            403 | 404 | 422 => Fault::Waiting,
            _ => Fault::Permanent,
        },
        _ => Fault::Transient { retry_after: None },
    }
}

fn retry_after(status: &kube::core::Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// An error and its causes on one line, each said once.
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

/// What one error says. kube adds the whole answer in Debug form; its sentence is enough for people.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_api_server_is_said_once_and_in_its_words() {
        let status = kube::core::Status {
            code: 403,
            message: "deployments are forbidden: quota".to_owned(),
            reason: "Forbidden".to_owned(),
            ..Default::default()
        };
        let source = Box::new(kube::Error::Api(Box::new(status)));
        let error = Error::from(apply::Error::Write {
            verb: "apply",
            kind: "Deployment".to_owned(),
            name: "harbour".to_owned(),
            source,
        });
        assert_eq!(error.fault(), Fault::Waiting);
        assert_eq!(
            chain(&error),
            "cannot bring the Registry's objects up to date: cannot apply Deployment `harbour`: deployments are forbidden: \
             quota"
        );
    }
}
