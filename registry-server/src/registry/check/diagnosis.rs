//! A finding with its remedy: the objects that a repair moves to the trash.

use std::time::SystemTime;

use super::finding::Finding;
use crate::storage::StorageKey;
use crate::storage::layout::ObjectPath;

/// A finding, and the objects to move to repair it, in this order.
#[derive(Debug)]
pub(super) struct Diagnosis {
    pub(super) finding: Finding,
    pub(super) moves: Vec<Move>,
    /// An empty prefix that is itself the finding, and the prefix at which its removal stops.
    pub(super) empty: Option<(StorageKey, StorageKey)>,
}

impl Diagnosis {
    /// A finding that moving objects does not repair.
    pub(super) fn beyond_repair(finding: Finding) -> Self {
        Self::with(finding, Vec::new())
    }

    /// A finding that is repaired by moving these objects, in this order.
    pub(super) fn with(finding: Finding, moves: Vec<Move>) -> Self {
        Self {
            finding,
            moves,
            empty: None,
        }
    }

    /// A finding that is repaired by removing an empty prefix.
    pub(super) fn empty(finding: Finding, prefix: StorageKey, prune_root: StorageKey) -> Self {
        Self {
            empty: Some((prefix, prune_root)),
            ..Self::beyond_repair(finding)
        }
    }

    /// A finding that is repaired by moving one object.
    pub(super) fn at(finding: Finding, path: ObjectPath, seen: SystemTime) -> Self {
        Self::with(finding, vec![Move::new(path, seen)])
    }
}

/// An object to be moved, unless it was written after it was read.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) path: ObjectPath,
    pub(super) seen: SystemTime,
    /// The prefix at which the removal of empty folders stops.
    pub(super) prune_root: StorageKey,
}

impl Move {
    pub(super) fn new(path: ObjectPath, seen: SystemTime) -> Self {
        let prune_root = path.prune_root();
        Self {
            path,
            seen,
            prune_root,
        }
    }
}
