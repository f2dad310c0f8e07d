//! The outcome of a reconcile, from which the status follows. Start at [`Outcome`].

use std::time::Duration;

use crate::error::Problems;
use crate::findings::Findings;
use crate::issue::Issued;
use crate::validate::ValidatedRegistry;

/// How long something may be missing before the Registry counts as stalled. GitOps tools give up on Stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(300);

/// The outcome of a reconcile.
pub enum Outcome<'a> {
    /// Every object is as it should be.
    Applied {
        /// The validated Registry.
        registry: &'a ValidatedRegistry,
        /// Its issued secrets.
        issued: &'a Issued,
        /// The state of the running registry.
        findings: &'a Findings,
    },
    /// Something went wrong.
    Failed {
        /// The problems.
        problems: &'a Problems,
        /// The state of the running registry.
        findings: &'a Findings,
    },
    /// `spec.paused`.
    Paused {
        /// The state of the running registry.
        findings: &'a Findings,
    },
}

impl<'a> Outcome<'a> {
    /// The outcome of the steps from `validate` to `probe`. Without problems everything was issued.
    pub fn of(
        registry: &'a ValidatedRegistry,
        issued: Option<&'a Issued>,
        findings: &'a Findings,
        problems: &'a Problems,
    ) -> Self {
        match issued {
            _ if registry.paused => Self::Paused { findings },
            Some(issued) if problems.first().is_none() => Self::Applied {
                registry,
                issued,
                findings,
            },
            _ => Self::Failed { problems, findings },
        }
    }

    /// The state of the running registry.
    pub fn findings(&self) -> &'a Findings {
        match self {
            Self::Applied { findings, .. } | Self::Failed { findings, .. } | Self::Paused { findings } => {
                findings
            }
        }
    }
}
