//! The outcome of a reconcile, from which the status follows. Start at [`Outcome`].

use std::time::Duration;

use crate::error::Problems;
use crate::findings::Findings;
use crate::issue::Issued;
use crate::validate::ValidatedRegistry;

/// How long something may be missing before the Registry counts as stalled. GitOps tools give up on Stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(300);

/// The outcome of a reconcile.
#[derive(Clone, Copy)]
pub struct Outcome<'a> {
    /// The parts of the Registry that are right.
    pub registry: &'a ValidatedRegistry,
    /// Its issued secrets; `None` when they could not be issued.
    pub issued: Option<&'a Issued>,
    /// The state of the running registry.
    pub findings: &'a Findings,
    /// Everything that went wrong.
    pub problems: &'a Problems,
}

impl Outcome<'_> {
    /// Whether every object is as it should be.
    pub fn is_applied(&self) -> bool {
        !self.registry.paused && self.problems.first().is_none()
    }
}
