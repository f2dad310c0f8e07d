//! A finding with its remedy: the objects that a repair moves to the trash.

use std::time::SystemTime;

use super::finding::Finding;
use crate::storage::StorageKey;
use crate::storage::layout::Place;

/// Something that is broken, and what to move to mend that, in this order.
#[derive(Debug)]
pub(super) struct Diagnosis {
    pub(super) finding: Finding,
    pub(super) moves: Vec<Move>,
    /// A prefix that is what is wrong although nothing lies below it, and what stays of the folders above it.
    pub(super) empty: Option<(StorageKey, StorageKey)>,
}

impl Diagnosis {
    /// What no move mends.
    pub(super) fn beyond_repair(finding: Finding) -> Self {
        Self::with(finding, Vec::new())
    }

    /// What is mended by moving some objects, in this order.
    pub(super) fn with(finding: Finding, moves: Vec<Move>) -> Self {
        Self {
            finding,
            moves,
            empty: None,
        }
    }

    /// What is mended by removing a prefix below which nothing lies.
    pub(super) fn empty(finding: Finding, prefix: StorageKey, shelf: StorageKey) -> Self {
        Self {
            empty: Some((prefix, shelf)),
            ..Self::beyond_repair(finding)
        }
    }

    /// What is mended by moving one object.
    pub(super) fn at(finding: Finding, place: Place, seen: SystemTime) -> Self {
        Self::with(finding, vec![Move::new(place, seen)])
    }
}

/// An object to be moved, unless it was written later than it was looked at.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) place: Place,
    pub(super) seen: SystemTime,
    /// What stays of the folders above it.
    pub(super) shelf: StorageKey,
}

impl Move {
    pub(super) fn new(place: Place, seen: SystemTime) -> Self {
        let shelf = place.shelf();
        Self { place, seen, shelf }
    }
}
