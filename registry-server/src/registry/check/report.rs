//! The options of a check, the events while it runs, and its report in the end.

use uuid::Uuid;

use super::finding::Finding;
use crate::registry::Error;
use crate::registry::live_servers::LiveServerPolicy;
use crate::storage::Swept;

/// How a check works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// Whether the bytes of blobs are hashed.
    pub digests: Digests,
    /// The action on broken objects.
    pub repair: Repair,
    /// The policy when a live server writes to the store that is to be repaired.
    pub live_server_policy: LiveServerPolicy,
}

/// Whether the bytes of blobs are hashed. Those of manifests always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digests {
    /// They are not read.
    Trusted,
    /// They are read and hashed.
    Hashed,
}

/// The action of a check on broken objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It only reports them.
    Report,
    /// It moves them to the trash, where that helps.
    Move,
}

/// The outcome of one finding.
#[derive(Debug)]
pub enum FindingOutcome<'a> {
    /// It was only reported.
    Reported,
    /// The object was moved to the trash.
    Moved,
    /// Moving the object would not help.
    Left,
    /// Somebody wrote the object again or removed it meanwhile.
    Changed,
    /// The object could not be moved.
    Failed(&'a Error),
}

/// An event of a check.
#[derive(Debug)]
pub enum CheckEvent<'a> {
    /// Payloads are being checked. The number is the fraction that is done, from 0 to 1.
    Blobs(&'a CheckReport, f64),
    /// Repositories are being checked.
    Repositories(&'a CheckReport),
    /// An object is broken.
    Found(&'a Finding, FindingOutcome<'a>),
}

/// The report of a check: what it read, found and repaired.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// How many payloads there are.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many bytes were hashed.
    pub hashed: u64,
    /// How many repositories there are.
    pub repositories: u64,
    /// How many manifests were checked, counted once for each repository and digest.
    pub manifests: u64,
    /// How many links were checked.
    pub links: u64,
    /// How many findings there are.
    pub findings: u64,
    /// How many of them were repaired.
    pub repaired: u64,
    /// How many objects were moved to the trash.
    pub moved: u64,
    /// How many findings were gone when they were about to be repaired.
    pub changed: u64,
    /// How many findings could not be repaired although moving the object would have helped.
    pub failed: u64,
    /// The error of the first of them.
    pub first_failure: Option<Error>,
    /// The files of interrupted writes that a repair removed.
    pub swept: Swept,
    /// The id of this run's trash; nothing when nothing was moved.
    pub run: Option<Uuid>,
}

impl CheckReport {
    /// How many findings are not repaired.
    pub fn open(&self) -> u64 {
        self.findings - self.repaired - self.changed
    }
}
