//! The objects of one kind that Registries name. Their watch has metadata only, because it covers the objects of a
//! whole cluster; a content is asked for once, and again when its watch tells of a change. Start at [`NamedObjects`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use kube::api::ObjectMeta;

use super::entry::{Json, Kept, Key, Said, Watch, key_of, version_of};
use super::packed::Packer;

/// The named objects of one kind.
#[derive(Debug, Default)]
pub(super) struct NamedObjects {
    /// By namespace; `None` for all.
    watches: HashMap<Option<String>, Watch>,
    lists: HashMap<Option<String>, BTreeSet<Key>>,
    entries: BTreeMap<Key, Entry>,
    packer: Packer,
}

/// An answer of the API server, or the question for it. An object that was never asked for, or has changed, has none.
#[derive(Debug)]
enum Entry {
    Asked(u64),
    /// `None` when there is no such object.
    Known(Option<Kept>),
}

impl NamedObjects {
    pub(super) fn announce(&mut self, namespace: Option<String>) {
        self.watches.insert(namespace, Watch::default());
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watches.values()
    }

    pub(super) fn watch(&mut self, namespace: &Option<String>) -> Option<&mut Watch> {
        self.watches.get_mut(namespace)
    }

    pub(super) fn get(&mut self, key: &Key, number: u64) -> Said {
        let own = self.watches.get(&Some(key.0.clone()));
        let watch = own.or_else(|| self.watches.get(&None));
        if !watch.is_some_and(|watch| watch.is_trusted(Instant::now())) {
            return Said::Ask(None);
        }
        match self.entries.get(key) {
            Some(Entry::Known(object)) => Said::Known(object.as_ref().map(|object| object.packed.unpack())),
            // Several may ask at the same time; each answer is as good.
            Some(Entry::Asked(asked)) => Said::Ask(Some(*asked)),
            None => {
                self.entries.insert(key.clone(), Entry::Asked(number));
                Said::Ask(Some(number))
            }
        }
    }

    /// Takes an answer, unless the object has changed since the question.
    pub(super) fn settle(&mut self, key: Key, number: u64, answer: Option<Json>) {
        if let Some(entry @ Entry::Asked(_)) = self.entries.get_mut(&key)
            && matches!(entry, Entry::Asked(asked) if *asked == number)
        {
            *entry = Entry::Known(answer.map(|json| json.keep(&mut self.packer)));
        }
    }

    /// The object is of this version now; `None` when it is gone.
    pub(super) fn changed(&mut self, key: &Key, version: Option<u64>) {
        let known = match self.entries.get(key) {
            Some(Entry::Known(Some(object))) => Some(object.version),
            Some(Entry::Known(None) | Entry::Asked(_)) | None => None,
        };
        if version.is_none() || known != version {
            self.entries.remove(key);
        }
    }

    pub(super) fn list_begins(&mut self, namespace: &Option<String>) {
        self.lists.insert(namespace.clone(), BTreeSet::new());
    }

    pub(super) fn listed(&mut self, namespace: &Option<String>, metadata: &ObjectMeta) {
        let key = key_of(metadata);
        self.changed(&key, version_of(metadata));
        if self.entries.contains_key(&key)
            && let Some(seen) = self.lists.get_mut(namespace)
        {
            seen.insert(key);
        }
    }

    /// Ends a list, and says whether it is the first of its watch.
    pub(super) fn list_ends(&mut self, namespace: &Option<String>) -> bool {
        if let Some(seen) = self.lists.remove(namespace) {
            self.entries.retain(|key, entry| {
                let elsewhere = namespace.as_ref().is_some_and(|namespace| *namespace != key.0);
                elsewhere || seen.contains(key) || matches!(entry, Entry::Known(None))
            });
        }
        self.watches.get_mut(namespace).is_some_and(Watch::list_ends)
    }

    pub(super) fn forget(&mut self, namespace: &str) {
        self.entries.retain(|key, _| key.0 != namespace);
    }

    pub(super) fn bytes(&self) -> usize {
        let known = self.entries.values().map(|entry| match entry {
            Entry::Known(Some(object)) => object.packed.size(),
            Entry::Known(None) | Entry::Asked(_) => 0,
        });
        known.sum()
    }
}
