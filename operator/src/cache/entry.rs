//! The parts that both stores of the cache have: the state of a watch, and an object as JSON.
//!
//! Start at [`Watch`], [`Json`] and [`Kept`].

use std::time::{Duration, Instant};

use serde::Serialize;

use super::packed::{Packed, Packer};

/// After a watch has failed for so long, its objects are read from the API server.
const TRUSTED_WITHOUT_WATCH: Duration = Duration::from_secs(30);
/// A watch that has not failed for so long works again: a try ends within 15 s, and the next comes 5 s later.
const QUIET_AFTER_FAILURE: Duration = Duration::from_secs(25);

/// One object: its namespace and name.
pub(super) type Key = (String, String);

/// The state of one watch.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Whether its first list has ended.
    pub(super) listed: bool,
    /// When it failed for the first time in a row, and for the last.
    pub(super) failing: Option<(Instant, Instant)>,
    /// Whether its first list has ended or failed.
    pub(super) started: bool,
    /// The API server's words when the right to it is missing.
    pub(super) refused: Option<String>,
}

impl Watch {
    pub(super) fn is_trusted(&self, now: Instant) -> bool {
        let works = |(first, last): (Instant, Instant)| {
            now.saturating_duration_since(first) < TRUSTED_WITHOUT_WATCH
                || now.saturating_duration_since(last) > QUIET_AFTER_FAILURE
        };
        self.listed && self.failing.is_none_or(works)
    }

    /// It has failed. Says whether it has never listed or failed before.
    pub(super) fn fail(&mut self, refused: Option<String>, now: Instant) -> bool {
        self.refused = refused;
        let first = match self.failing {
            Some((first, last)) if now.saturating_duration_since(last) <= QUIET_AFTER_FAILURE => first,
            _ => now,
        };
        self.failing = Some((first, now));
        !std::mem::replace(&mut self.started, true)
    }

    /// Its list has ended. Says whether it has never listed or failed before.
    pub(super) fn list_ends(&mut self) -> bool {
        self.listed = true;
        self.failing = None;
        self.refused = None;
        !std::mem::replace(&mut self.started, true)
    }
}

/// An object as JSON.
#[derive(Debug)]
pub(super) struct Json {
    pub(super) version: u64,
    pub(super) label: Option<String>,
    bytes: Vec<u8>,
}

/// An object in memory.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) version: u64,
    pub(super) label: Option<String>,
    pub(super) packed: Packed,
}

impl Json {
    /// `None` for an object that has no number as its version.
    pub(super) fn of(object: &impl Serialize, metadata: &kube::api::ObjectMeta) -> Option<Self> {
        let version = version_of(metadata)?;
        let labels = metadata.labels.as_ref();
        let label = labels.and_then(|labels| labels.get(operator_api::REGISTRY_LABEL));
        let mut value = serde_json::to_value(object).ok()?;
        if let Some(metadata) = value
            .get_mut("metadata")
            .and_then(|metadata| metadata.as_object_mut())
        {
            metadata.remove("managedFields");
        }
        Some(Self {
            version,
            label: label.cloned(),
            bytes: serde_json::to_vec(&value).ok()?,
        })
    }

    pub(super) fn keep(self, packer: &mut Packer) -> Kept {
        Kept {
            version: self.version,
            label: self.label,
            packed: packer.pack(&self.bytes),
        }
    }
}

pub(super) fn version_of(metadata: &kube::api::ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

pub(super) fn key_of(metadata: &kube::api::ObjectMeta) -> Key {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    (namespace, metadata.name.clone().unwrap_or_default())
}

/// The answer of a store about an object: it is known, with its JSON or absent, or the API server has to be asked, with a
/// number when the answer can be kept.
pub(super) enum Said {
    Known(Option<Vec<u8>>),
    Ask(Option<u64>),
}
