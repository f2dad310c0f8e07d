//! The objects of one kind that a watch brings whole. Start at [`Objects`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use kube::core::DynamicObject;

use super::entry::{Json, Kept, Key, Said, Watch, key_of, version_of};
use super::packed::Packer;

/// The objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Whether only objects with the operator's label are kept.
    labelled: bool,
    /// By namespace; `None` for all.
    watches: HashMap<Option<String>, Watch>,
    lists: HashMap<Option<String>, List>,
    entries: BTreeMap<Key, Entry>,
    packer: Packer,
    /// By namespace, the version up to which the watch has told everything.
    told: HashMap<String, u64>,
}

/// A list that is being read.
#[derive(Debug)]
struct List {
    /// Its number: what is settled after it has a higher one.
    number: u64,
    seen: BTreeSet<Key>,
}

/// The longest time for which an object is trusted that was read or written and that no event tells of. Its watch may
/// have lost the event, or not see the object any more.
const TRUSTED_WITHOUT_EVENT: Duration = Duration::from_secs(30);

/// An object, or that it has to be asked for.
#[derive(Debug)]
enum Entry {
    Known {
        object: Kept,
        /// When it was told.
        number: u64,
        /// When it was read or written, while no event has told of it.
        unconfirmed: Option<Instant>,
    },
    Unknown(u64),
}

impl Entry {
    /// Whether an event should have told of the object long ago.
    fn is_overdue(&self, now: Instant) -> bool {
        match self {
            Self::Known { unconfirmed, .. } => {
                unconfirmed.is_some_and(|since| now.saturating_duration_since(since) > TRUSTED_WITHOUT_EVENT)
            }
            Self::Unknown(_) => false,
        }
    }
}

impl Objects {
    pub(super) fn announce(&mut self, namespace: Option<String>, labelled: bool) {
        self.labelled = labelled;
        self.watches.insert(namespace, Watch::default());
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watches.values()
    }

    pub(super) fn watch(&mut self, namespace: &Option<String>) -> Option<&mut Watch> {
        self.watches.get_mut(namespace)
    }

    fn is_trusted(&self, namespace: &str) -> bool {
        let own = self.watches.get(&Some(namespace.to_owned()));
        own.or_else(|| self.watches.get(&None))
            .is_some_and(|watch| watch.is_trusted(Instant::now()))
    }

    pub(super) fn get(&mut self, key: &Key, number: u64, now: Instant) -> Said {
        if !self.is_trusted(&key.0) {
            return Said::Ask(None);
        }
        match self.entries.get_mut(key) {
            None => Said::Known(None),
            Some(entry) if entry.is_overdue(now) => {
                *entry = Entry::Unknown(number);
                Said::Ask(Some(number))
            }
            Some(Entry::Known { object, .. }) => Said::Known(Some(object.packed.unpack())),
            Some(Entry::Unknown(asked)) => {
                *asked = number;
                Said::Ask(Some(number))
            }
        }
    }

    pub(super) fn labelled(&self, namespace: &str, label: &str) -> Option<Vec<Vec<u8>>> {
        if !self.is_trusted(namespace) {
            return None;
        }
        let first = (namespace.to_owned(), String::new());
        let here = self
            .entries
            .range(first..)
            .take_while(|(key, _)| key.0 == namespace);
        let mut found = Vec::new();
        let now = Instant::now();
        for (_, entry) in here {
            if entry.is_overdue(now) {
                return None;
            }
            match entry {
                Entry::Known { object, .. } if object.label.as_deref() == Some(label) => {
                    found.push(object.packed.unpack());
                }
                Entry::Known { .. } | Entry::Unknown(_) => {}
            }
        }
        Some(found)
    }

    /// Makes an object unknown, because a write of it is sent.
    pub(super) fn forget(&mut self, key: &Key, number: u64) {
        self.entries.insert(key.clone(), Entry::Unknown(number));
    }

    /// Takes an answer. Where an event has told of the object since the question, the newer of both stays.
    pub(super) fn settle(&mut self, key: Key, number: u64, answer: Option<Json>) {
        let nothing_told = matches!(self.entries.get(&key), Some(Entry::Unknown(asked)) if *asked == number);
        let Some(json) = answer else {
            if nothing_told {
                self.entries.remove(&key);
            }
            return;
        };
        // An object without the label is somebody else's. It stays unknown, because no watch would tell of a change.
        if self.labelled && json.label.is_none() {
            return;
        }
        let told = self.told.get(&key.0).copied().unwrap_or_default();
        if nothing_told || json.version > told && self.is_newer(&key, json.version) {
            // The watch has told everything up to a version, and tells of what is newer.
            let unconfirmed = (json.version > told).then(Instant::now);
            self.keep(key, json, number, unconfirmed);
        }
    }

    fn keep(&mut self, key: Key, json: Json, number: u64, unconfirmed: Option<Instant>) {
        let known = Entry::Known {
            object: json.keep(&mut self.packer),
            number,
            unconfirmed,
        };
        self.entries.insert(key, known);
    }

    /// Whether an object of this version is newer than the one that is known.
    fn is_newer(&self, key: &Key, version: u64) -> bool {
        match self.entries.get(key) {
            Some(Entry::Known { object, .. }) => version >= object.version,
            Some(Entry::Unknown(_)) | None => true,
        }
    }

    pub(super) fn list_begins(&mut self, namespace: &Option<String>, number: u64) {
        let seen = BTreeSet::new();
        self.lists.insert(namespace.clone(), List { number, seen });
    }

    pub(super) fn listed(&mut self, namespace: &Option<String>, object: &DynamicObject, number: u64) {
        if let Some(list) = self.lists.get_mut(namespace) {
            list.seen.insert(key_of(&object.metadata));
        }
        self.applied(object, number);
    }

    /// Ends a list, and says whether it is the first of its watch. What the list does not have is gone; only of what
    /// was settled while it was read can this not be said.
    pub(super) fn list_ends(&mut self, namespace: &Option<String>, number: u64) -> bool {
        if let Some(list) = self.lists.remove(namespace) {
            let missing = self.entries.iter_mut().filter(|(key, _)| {
                namespace.as_ref().is_none_or(|namespace| *namespace == key.0) && !list.seen.contains(*key)
            });
            let mut gone = Vec::new();
            for (key, entry) in missing {
                match entry {
                    Entry::Known { number: told, .. } if *told < list.number => gone.push(key.clone()),
                    Entry::Known { .. } => *entry = Entry::Unknown(number),
                    Entry::Unknown(_) => {}
                }
            }
            for key in gone {
                self.entries.remove(&key);
            }
        }
        self.watches.get_mut(namespace).is_some_and(Watch::list_ends)
    }

    pub(super) fn applied(&mut self, object: &DynamicObject, number: u64) {
        let key = key_of(&object.metadata);
        match Json::of(object, &object.metadata) {
            Some(json) => {
                self.tell(&key.0, json.version);
                if self.is_newer(&key, json.version) {
                    self.keep(key, json, number, None);
                }
            }
            None => self.forget(&key, number),
        }
    }

    pub(super) fn deleted(&mut self, object: &DynamicObject) {
        let key = key_of(&object.metadata);
        let version = version_of(&object.metadata).unwrap_or(u64::MAX);
        self.tell(&key.0, version);
        if self.is_newer(&key, version) {
            self.entries.remove(&key);
        }
    }

    fn tell(&mut self, namespace: &str, version: u64) {
        let told = self.told.entry(namespace.to_owned()).or_default();
        *told = (*told).max(version);
    }

    pub(super) fn bytes(&self) -> usize {
        let known = self.entries.values().map(|entry| match entry {
            Entry::Known { object, .. } => object.packed.size(),
            Entry::Unknown(_) => 0,
        });
        known.sum()
    }
}
