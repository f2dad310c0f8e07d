//! The last reconciles, for support: which Registry, why it began, how long it took, what came of it, and when the next one
//! is due.
//!
//! Guarantees: bounded; nothing of a spec, of a Secret or of an error's text. Start at [`RecentReconciles`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// The number of reconciles that are remembered.
const KEPT: usize = 500;

/// The reconciles that ended last. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentReconciles(Arc<Mutex<VecDeque<Reconcile>>>);

/// A reconcile that ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconcile {
    /// Its number, which its log lines have as `reconcile`.
    pub id: u64,
    /// Namespace of the Registry.
    pub namespace: String,
    /// Name of the Registry.
    pub name: String,
    /// `Change` when a watch or background work asked for it, `Schedule` when its time had come.
    pub trigger: Trigger,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub duration_milliseconds: u64,
    /// `success` or `error`.
    pub result: &'static str,
    /// The reason of Ready, or of the error.
    pub reason: String,
    /// When the next one is due; absent when only a change starts one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// Why a reconcile began.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Trigger {
    /// A watch or background work asked for it.
    Change,
    /// Its time had come.
    Schedule,
}

impl RecentReconciles {
    pub(crate) fn add(&self, reconcile: Reconcile) {
        let mut all = self.lock();
        all.push_front(reconcile);
        all.truncate(KEPT);
    }

    /// As JSON, the last one first.
    pub fn json(&self) -> String {
        let list = self.lock();
        let document = serde_json::json!({ "version": 1, "reconciles": *list });
        format!("{document:#}\n")
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Reconcile>> {
        // Each holder leaves a whole value behind, even one that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reconciles_are_kept_and_the_last_one_comes_first() {
        let recent = RecentReconciles::default();
        for id in 0..KEPT as u64 + 10 {
            recent.add(Reconcile {
                id,
                namespace: "quay".to_owned(),
                name: "harbour".to_owned(),
                trigger: Trigger::Change,
                began: "2026-03-01T12:00:00Z".parse().unwrap(),
                duration_milliseconds: 20,
                result: "success",
                reason: "Serving".to_owned(),
                next: None,
            });
        }
        let document: serde_json::Value = serde_json::from_str(&recent.json()).unwrap();
        let list = document["reconciles"].as_array().unwrap();
        assert_eq!(list.len(), KEPT);
        assert_eq!(
            list[0],
            serde_json::json!({
                "id": KEPT + 9, "namespace": "quay", "name": "harbour", "trigger": "Change", "began": "2026-03-01T12:00:00Z",
                "durationMilliseconds": 20, "result": "success", "reason": "Serving",
            })
        );
    }
}
