//! The API server's objects, as the watches and the operator's own writes have told of them.
//!
//! Guarantees: an answer is never older than what the operator has written itself, and an older event never replaces a
//! newer object: resource versions are compared as numbers (etcd counts them, and Kubernetes promises it since 1.35).
//! Where the cache cannot vouch for an object it says so, and the reader asks the API server: before the first list,
//! while a watch fails, from the moment a write is sent until its answer or its event, and when no event has told of an
//! answer for half a minute. Memory: objects are kept as compressed JSON without `managedFields`; of objects without the
//! operator's label only those that a Registry names.
//! Must not: send a request. Start at [`Cache`].

mod entry;
mod named;
mod objects;
mod packed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kube::Resource;
use kube::core::DynamicObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use entry::{Json, Key, Said, key_of, version_of};
use named::NamedObjects;
use objects::Objects;

/// A kind, as the API server's paths spell it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kind {
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its plural name.
    pub plural: String,
}

impl Kind {
    /// The kind `K`.
    pub fn of<K: Resource<DynamicType = ()>>() -> Self {
        Self {
            group: K::group(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
        }
    }
}

/// The answer to a question for one object.
#[derive(Debug)]
pub enum Cached<K> {
    /// The object, or `None` when there is none.
    Known(Option<K>),
    /// The API server has to be asked. [`Cache::settle`] takes its answer.
    Ask(Ticket),
}

/// The object that the API server is asked for, or that is being written.
#[derive(Clone, Debug)]
pub struct Ticket {
    store: Store,
    kind: Kind,
    key: Key,
    /// `None` when the cache does not keep this kind.
    number: Option<u64>,
}

/// The two stores of the cache.
#[derive(Clone, Copy, Debug)]
enum Store {
    Objects,
    Named,
}

/// The objects. Clones share them.
#[derive(Clone, Debug)]
pub struct Cache {
    state: Arc<Mutex<State>>,
    /// Counts the watches that have listed, or failed to, for the first time.
    started: Arc<watch::Sender<usize>>,
}

#[derive(Debug, Default)]
struct State {
    /// Objects with the operator's label, and all Registries.
    objects: BTreeMap<Kind, Objects>,
    /// Objects that Registries name. Their watches tell only when one changes.
    named: BTreeMap<Kind, NamedObjects>,
    watches: usize,
    next: u64,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// The watch of one kind in one namespace, or in all.
#[derive(Clone, Debug)]
pub struct WatchOf {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            started: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Cache {
    /// Announces a watch whose objects are kept. With `labelled`, only those that have the operator's label.
    pub(crate) fn announce(&self, watch: &WatchOf, labelled: bool) {
        let mut state = self.lock();
        state.watches += 1;
        let objects = state.objects.entry(watch.kind.clone()).or_default();
        objects.announce(watch.namespace.clone(), labelled);
    }

    /// Announces a watch that tells only which objects change.
    pub(crate) fn announce_named(&self, watch: &WatchOf) {
        let mut state = self.lock();
        state.watches += 1;
        let named = state.named.entry(watch.kind.clone()).or_default();
        named.announce(watch.namespace.clone());
    }

    /// Waits until each announced watch has listed its objects, or has failed to.
    pub(crate) async fn started(&self) {
        let all = self.lock().watches;
        let mut started = self.started.subscribe();
        // The sender is in `self`.
        let _ = started.wait_for(|count| *count >= all).await;
    }

    /// The object of this name, as far as it is known without a request.
    ///
    /// # Errors
    /// The object is known and cannot be parsed.
    pub fn get<K>(&self, namespace: &str, name: &str) -> Result<Cached<K>, serde_json::Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let (kind, key) = (Kind::of::<K>(), (namespace.to_owned(), name.to_owned()));
        let mut state = self.lock();
        let number = state.number();
        let found = state
            .objects
            .get_mut(&kind)
            .map(|objects| objects.get(&key, number, Instant::now()));
        drop(state);
        parsed(found, Store::Objects, kind, key)
    }

    /// An object of any owner that a Registry names.
    ///
    /// # Errors
    /// The object is known and cannot be parsed.
    pub fn named<K>(&self, namespace: &str, name: &str) -> Result<Cached<K>, serde_json::Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let (kind, key) = (Kind::of::<K>(), (namespace.to_owned(), name.to_owned()));
        let mut state = self.lock();
        let number = state.number();
        let found = state.named.get_mut(&kind).map(|named| named.get(&key, number));
        drop(state);
        parsed(found, Store::Named, kind, key)
    }

    /// The objects whose label of the operator has this value. `None` when the API server has to be asked.
    pub fn labelled<K>(&self, namespace: &str, label: &str) -> Option<Vec<K>>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let state = self.lock();
        let found = state.objects.get(&Kind::of::<K>())?.labelled(namespace, label)?;
        drop(state);
        found
            .iter()
            .map(|json| serde_json::from_slice(json).ok())
            .collect()
    }

    /// Takes the API server's answer to [`Cached::Ask`].
    pub fn settle<K: Resource + Serialize>(&self, ticket: Ticket, answer: Option<&K>) {
        let answer = answer.and_then(|object| Json::of(object, object.meta()));
        self.settle_json(ticket, Some(answer));
    }

    /// A write of this object is about to be sent. Until its answer is settled, or an event tells of it, the object is
    /// not known.
    pub(crate) fn writing(&self, kind: Kind, namespace: &str, name: &str) -> Ticket {
        let key = (namespace.to_owned(), name.to_owned());
        let mut state = self.lock();
        let number = state.number();
        if let Some(named) = state.named.get_mut(&kind) {
            named.changed(&key, None);
        }
        let objects = state.objects.get_mut(&kind);
        let kept = objects.map(|objects| objects.forget(&key, number));
        Ticket {
            store: Store::Objects,
            kind,
            key,
            number: kept.map(|()| number),
        }
    }

    /// The API server's answer to a write, which is the object as it is now.
    pub(crate) fn written(&self, ticket: Ticket, object: &DynamicObject) {
        let json = Json::of(object, &object.metadata);
        if json.is_some() {
            self.settle_json(ticket, Some(json));
        }
    }

    fn settle_json(&self, ticket: Ticket, answer: Option<Option<Json>>) {
        let (Some(number), Some(answer)) = (ticket.number, answer) else {
            return;
        };
        let mut state = self.lock();
        match ticket.store {
            Store::Objects => {
                if let Some(objects) = state.objects.get_mut(&ticket.kind) {
                    objects.settle(ticket.key, number, answer);
                }
            }
            Store::Named => {
                if let Some(named) = state.named.get_mut(&ticket.kind) {
                    named.settle(ticket.key, number, answer);
                }
            }
        }
    }

    /// Nothing that a Registry names is needed any more in this namespace; what still is will be read again.
    pub(crate) fn forget_named(&self, namespace: &str) {
        for named in self.lock().named.values_mut() {
            named.forget(namespace);
        }
    }

    /// The kinds that may not be watched, with the API server's words. Until that is granted they are asked for.
    pub fn refused_watches(&self) -> BTreeMap<Kind, String> {
        let state = self.lock();
        let whole = state.objects.iter().flat_map(|(kind, objects)| {
            let refused = objects.watches().filter_map(|watch| watch.refused.clone());
            refused.map(move |words| (kind.clone(), words))
        });
        let named = state.named.iter().flat_map(|(kind, named)| {
            let refused = named.watches().filter_map(|watch| watch.refused.clone());
            refused.map(move |words| (kind.clone(), words))
        });
        whole.chain(named).collect()
    }

    /// Memory of all objects, in bytes of compressed JSON.
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        let objects = state.objects.values().map(Objects::bytes);
        objects.chain(state.named.values().map(NamedObjects::bytes)).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each holder leaves a whole value behind, even one that panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of watches.
impl Cache {
    /// Passes an event of a watch on objects that are kept.
    pub(crate) fn event(&self, watch: &WatchOf, event: &kube::runtime::watcher::Event<DynamicObject>) {
        use kube::runtime::watcher::Event;
        let mut state = self.lock();
        let number = state.number();
        let Some(objects) = state.objects.get_mut(&watch.kind) else {
            return;
        };
        match event {
            Event::Init => objects.list_begins(&watch.namespace, number),
            Event::InitApply(object) => objects.listed(&watch.namespace, object, number),
            Event::Apply(object) => objects.applied(object, number),
            Event::Delete(object) => objects.deleted(object),
            Event::InitDone => {
                let first = objects.list_ends(&watch.namespace, number);
                drop(state);
                self.count_start(first);
            }
        }
    }

    /// Passes an event of a watch that tells only which objects change.
    pub(crate) fn named_event<M: Resource>(&self, watch: &WatchOf, event: &kube::runtime::watcher::Event<M>) {
        use kube::runtime::watcher::Event;
        let mut state = self.lock();
        let Some(named) = state.named.get_mut(&watch.kind) else {
            return;
        };
        match event {
            Event::Init => named.list_begins(&watch.namespace),
            Event::InitApply(object) => named.listed(&watch.namespace, object.meta()),
            Event::Apply(object) => named.changed(&key_of(object.meta()), version_of(object.meta())),
            Event::Delete(object) => named.changed(&key_of(object.meta()), None),
            Event::InitDone => {
                let first = named.list_ends(&watch.namespace);
                drop(state);
                self.count_start(first);
            }
        }
    }

    /// A watch has failed. It is tried again. `refused` has the API server's words when a right is missing.
    pub(crate) fn watch_failed(&self, watch: &WatchOf, named: bool, refused: Option<String>) {
        let mut state = self.lock();
        let failed = match named {
            true => state
                .named
                .get_mut(&watch.kind)
                .map(|kind| kind.watch(&watch.namespace)),
            false => state
                .objects
                .get_mut(&watch.kind)
                .map(|kind| kind.watch(&watch.namespace)),
        };
        let Some(Some(failed)) = failed else { return };
        let first = failed.fail(refused, Instant::now());
        drop(state);
        self.count_start(first);
    }

    fn count_start(&self, first: bool) {
        if first {
            self.started.send_modify(|count| *count += 1);
        }
    }
}

fn parsed<K: DeserializeOwned>(
    said: Option<Said>,
    store: Store,
    kind: Kind,
    key: Key,
) -> Result<Cached<K>, serde_json::Error> {
    let number = match said {
        Some(Said::Known(None)) => return Ok(Cached::Known(None)),
        Some(Said::Known(Some(json))) => return serde_json::from_slice(&json).map(Some).map(Cached::Known),
        Some(Said::Ask(number)) => number,
        None => None,
    };
    Ok(Cached::Ask(Ticket {
        store,
        kind,
        key,
        number,
    }))
}

#[cfg(test)]
mod tests;
