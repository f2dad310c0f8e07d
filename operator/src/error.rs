//! Errors of all steps before the report, and who must act on them.
//!
//! A reconcile goes on after an error wherever the rest does not depend on it, so there may be several:
//! [`Problems`].

use crate::fault::{Fault, namespace_is_ending};
use crate::{apply, issue, read, validate};

/// One thing that went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not deliver an object that the reconcile needs.
    #[error("cannot read what the Registry depends on")]
    Read(#[from] read::Error),
    /// A part of the Registry, or an object it names, is wrong.
    #[error("the Registry cannot be brought up as it is")]
    Validate(#[from] validate::Error),
    /// A key or a certificate could not be made.
    #[error("cannot make certificates")]
    Issue(#[from] issue::Error),
    /// An object belongs to somebody else, or the API server refused it.
    #[error("cannot bring the Registry's objects up to date")]
    Apply(#[from] apply::Error),
}

impl Error {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read(error) => error.fault(),
            Self::Validate(error) => error.fault(),
            Self::Issue(_) => Fault::Permanent,
            Self::Apply(error) => error.fault(),
        }
    }

    /// Whether the Registry's namespace is being deleted. The Registry goes with it.
    fn namespace_is_ending(&self) -> bool {
        match self {
            Self::Apply(apply::Error::Write { source, .. }) => namespace_is_ending(source),
            Self::Apply(_) | Self::Read(_) | Self::Validate(_) | Self::Issue(_) => false,
        }
    }

    /// The next thing that the author of the Registry can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Validate(error) => error.hint(),
            Self::Apply(error) => error.hint(),
            Self::Read(error) => error.hint(),
            Self::Issue(_) => None,
        }
    }
}

/// Everything that went wrong in one reconcile, the most serious first.
#[derive(Debug, Default)]
pub struct Problems(Vec<Error>);

impl Problems {
    /// Adds errors.
    pub fn extend<E: Into<Error>>(&mut self, errors: impl IntoIterator<Item = E>) {
        self.0.extend(errors.into_iter().map(Into::into));
        // First what only the author can correct, last what passes by itself.
        self.0.sort_by_key(|error| match error.fault() {
            Fault::Caller => 0,
            Fault::Permanent => 1,
            Fault::Waiting => 2,
            Fault::Transient { .. } => 3,
        });
    }

    /// Adds the error of a step that failed.
    pub fn collect<T, E: Into<Error>>(&mut self, step: Result<T, E>) -> Option<T> {
        step.map_err(|error| self.extend([error])).ok()
    }

    /// The most serious problem, from which the conditions follow.
    pub fn first(&self) -> Option<&Error> {
        self.0.first()
    }

    /// The problems, the most serious first.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }

    /// Whether there are problems and all of them pass by themselves.
    pub fn all_transient(&self) -> bool {
        matches!(self.first().map(Error::fault), Some(Fault::Transient { .. }))
    }

    /// Whether the Registry's namespace is being deleted.
    pub fn namespace_is_ending(&self) -> bool {
        self.0.iter().any(Error::namespace_is_ending)
    }

    /// Removes a problem that passes by itself, if there is one.
    pub fn take_transient(&mut self) -> Option<Error> {
        self.0
            .pop_if(|error| matches!(error.fault(), Fault::Transient { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::chain;

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
