//! Errors of applying.

use crate::children::ForeignObject;
use crate::fault::{Fault, missing_right_hint};

/// An object that could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name is taken.
    #[error(transparent)]
    Foreign(#[from] ForeignObject),
    /// A write failed.
    #[error("cannot {verb} {kind} `{name}`")]
    Write {
        /// `create`, `apply`, `get`, `release` or `delete`.
        verb: &'static str,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The built object could not be written as JSON. A bug.
    #[error("{kind} `{name}` cannot be written as JSON; please report this")]
    Bug {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Foreign(_) => Fault::Waiting,
            Self::Write { source, .. } => Fault::of(source),
            Self::Bug { .. } => Fault::Permanent,
        }
    }

    /// Whether the API server did not answer at all.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Write { source, .. } if !matches!(**source, kube::Error::Api(_)))
    }

    /// The next thing that the author of the Registry can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign(foreign) => Some(foreign.hint()),
            Self::Write { source, .. } => missing_right_hint(source),
            Self::Bug { .. } => None,
        }
    }
}
