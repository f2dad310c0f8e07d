//! What a check is asked to do, what it reports while it runs, and what it found in the end.

use uuid::Uuid;

use super::finding::Finding;
use crate::registry::Error;
use crate::registry::live_servers::LiveServerPolicy;
use crate::storage::Swept;

/// How a check goes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// Whether the bytes of blobs are read.
    pub digests: Digests,
    /// What becomes of what is broken.
    pub repair: Repair,
    /// What a live writer means for a repair.
    pub live_server_policy: LiveServerPolicy,
}

/// Whether the bytes of blobs are read. Those of manifests always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digests {
    /// They are believed.
    Trusted,
    /// They are hashed.
    Hashed,
}

/// What becomes of what is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It is only told.
    Report,
    /// It goes to the trash, where that helps.
    Move,
}

/// What became of one finding.
#[derive(Debug)]
pub enum FindingOutcome<'a> {
    /// It was only told.
    Reported,
    /// It was moved to the trash.
    Moved,
    /// Moving does not help.
    Left,
    /// Somebody wrote it anew or removed it meanwhile.
    Changed,
    /// It could not be moved.
    Failed(&'a Error),
}

/// What a check tells while it works.
#[derive(Debug)]
pub enum CheckEvent<'a> {
    /// Payloads are being looked at; so much of all of them is behind it, from 0 to 1.
    Blobs(&'a CheckReport, f64),
    /// Repositories are being looked at.
    Repositories(&'a CheckReport),
    /// Something is broken.
    Found(&'a Finding, FindingOutcome<'a>),
}

/// What a check looked at, found and did.
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
    /// How many manifests were looked at, counted once for each repository and digest.
    pub manifests: u64,
    /// How many links were looked at.
    pub links: u64,
    /// How many findings there are.
    pub findings: u64,
    /// How many of them a repair took away.
    pub repaired: u64,
    /// How many objects are in the trash now.
    pub moved: u64,
    /// How many findings were gone when they were to be repaired.
    pub changed: u64,
    /// How many could not be repaired although that would have helped.
    pub failed: u64,
    /// Why the first of them could not.
    pub first_failure: Option<Error>,
    /// What interrupted writes had left, and a repair removed.
    pub swept: Swept,
    /// Under which name the trash of this run is; nothing when nothing was moved.
    pub run: Option<Uuid>,
}

impl CheckReport {
    /// How many findings are still there.
    pub fn open(&self) -> u64 {
        self.findings - self.repaired - self.changed
    }
}
