//! What the watches and the operator's own writes have told of the API server's objects.
//!
//! Guarantees: an answer is never older than what the operator has written itself, and an older event never replaces a
//! newer object: resource versions are compared as numbers (etcd counts them, and Kubernetes promises it since 1.35).
//! Where the cache cannot vouch for an object it says so, and the reader asks the API server: before the first list,
//! while a watch fails, and from the moment a write is sent until its answer or its event. Memory: objects are kept as
//! JSON without `managedFields`; of objects without the operator's label only those that a Registry names.
//! Must not: send a request. Start at [`Cache`].

mod named;
mod objects;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Resource;
use kube::core::DynamicObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use named::NamedObjects;
use objects::Objects;

/// After a watch has failed for so long, its objects are read from the API server.
const TRUSTED_WITHOUT_WATCH: Duration = Duration::from_secs(30);
/// A watch that has not failed for so long works again: a try ends within 15 s, and the next comes 5 s later.
const WORKS_AGAIN: Duration = Duration::from_secs(25);

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

/// One object: its namespace and name.
pub(crate) type Key = (String, String);

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

/// The state of one watch.
#[derive(Debug, Default)]
struct Watch {
    /// Whether its first list has ended.
    listed: bool,
    /// When it failed for the first time in a row, and for the last.
    failing: Option<(Instant, Instant)>,
    /// Whether its first list has ended or failed.
    started: bool,
}

impl Watch {
    fn is_trusted(&self, now: Instant) -> bool {
        let works = |(first, last): (Instant, Instant)| {
            now.saturating_duration_since(first) < TRUSTED_WITHOUT_WATCH
                || now.saturating_duration_since(last) > WORKS_AGAIN
        };
        self.listed && self.failing.is_none_or(works)
    }

    /// It has failed. Says whether it has never listed or failed before.
    fn fail(&mut self, now: Instant) -> bool {
        let first = match self.failing {
            Some((first, last)) if now.saturating_duration_since(last) <= WORKS_AGAIN => first,
            _ => now,
        };
        self.failing = Some((first, now));
        !std::mem::replace(&mut self.started, true)
    }

    /// Its list has ended. Says whether it has never listed or failed before.
    fn list_ends(&mut self) -> bool {
        self.listed = true;
        self.failing = None;
        !std::mem::replace(&mut self.started, true)
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
            .map(|objects| objects.get(&key, number));
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

    /// Memory of all objects, in bytes of JSON.
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
                return;
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

    /// A watch has failed. It is tried again.
    pub(crate) fn watch_failed(&self, watch: &WatchOf, named: bool) {
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
        let first = failed.fail(Instant::now());
        drop(state);
        self.count_start(first);
    }

    fn count_start(&self, first: bool) {
        if first {
            self.started.send_modify(|count| *count += 1);
        }
    }
}

/// An object as JSON.
#[derive(Debug)]
struct Json {
    version: u64,
    label: Option<String>,
    bytes: Box<[u8]>,
}

impl Json {
    /// `None` for an object that has no number as its version.
    fn of(object: &impl Serialize, metadata: &kube::api::ObjectMeta) -> Option<Self> {
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
            bytes: serde_json::to_vec(&value).ok()?.into_boxed_slice(),
        })
    }
}

fn version_of(metadata: &kube::api::ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

fn key_of(metadata: &kube::api::ObjectMeta) -> Key {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    (namespace, metadata.name.clone().unwrap_or_default())
}

/// What a store says about an object: it is known, with its JSON or absent, or the API server has to be asked, with a
/// number when the answer can be kept.
enum Said {
    Known(Option<Box<[u8]>>),
    Ask(Option<u64>),
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
