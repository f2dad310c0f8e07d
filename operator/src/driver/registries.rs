//! The Registries that exist: the store that the controller looks them up in, and which of them an object belongs to.
//!
//! Guarantees: small. Of each Registry there are only its identity and the names in its spec. Start at [`Registries`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::api::ObjectMeta;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Store, store};
use kube::runtime::watcher::Event;
use operator_api::{REGISTRY_LABEL, Registry};

use crate::hosts;
use crate::names::Names;
use crate::references::{References, references};
use crate::subject::Subject;

/// Namespace and name.
type Key = (String, String);

/// The Registries that exist.
pub(super) struct Registries(Mutex<State>);

struct State {
    all: BTreeMap<Key, Known>,
    writer: Writer<PartialObjectMeta<Registry>>,
    /// The Registries that claim a host.
    by_host: BTreeMap<String, BTreeSet<Key>>,
    /// By namespace of the watch, the Registries of a list that is being read.
    lists: BTreeMap<Option<String>, BTreeSet<Key>>,
}

/// The names by which objects belong to a Registry.
struct Known {
    names: Names,
    references: References,
    claim: Option<String>,
    hosts: BTreeSet<String>,
}

/// The kinds of objects that a spec names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named {
    Secret,
    ConfigMap,
    Claim,
}

impl Registries {
    /// None yet, and the store for the controller.
    pub(super) fn new() -> (Self, Store<PartialObjectMeta<Registry>>) {
        let (reader, mut writer) = store();
        // The controller begins when the store is ready. What it waits for is in its queue.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let state = State {
            all: BTreeMap::new(),
            writer,
            by_host: BTreeMap::new(),
            lists: BTreeMap::new(),
        };
        (Self(Mutex::new(state)), reader)
    }

    /// Takes an event of the watch on Registries. Gives the Registries to reconcile: the one that it is about; after a
    /// list those that are gone; and others whose host is claimed or given up.
    pub(super) fn event(&self, watched: &Option<String>, event: &Event<DynamicObject>) -> Vec<Key> {
        let mut state = self.lock();
        match event {
            Event::Init => {
                state.lists.insert(watched.clone(), BTreeSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                if let Some(seen) = state.lists.get_mut(watched) {
                    seen.insert(key_of(&object.metadata));
                }
                state.applied(object)
            }
            Event::Apply(object) => state.applied(object),
            Event::Delete(object) => state.deleted(&key_of(&object.metadata)),
            Event::InitDone => {
                let seen = state.lists.remove(watched).unwrap_or_default();
                let known = state.all.keys().filter(|key| {
                    watched.as_ref().is_none_or(|namespace| *namespace == key.0) && !seen.contains(*key)
                });
                let gone: Vec<Key> = known.cloned().collect();
                gone.iter().flat_map(|key| state.deleted(key)).collect()
            }
        }
    }

    /// Notes about hosts that other Registries claim too.
    pub(super) fn notes_about_hosts(&self, subject: &Subject) -> Vec<String> {
        let state = self.lock();
        let key = subject.key();
        let hosts = state.all.get(&key).into_iter().flat_map(|known| &known.hosts);
        let notes = hosts.flat_map(|host| {
            let all = state.by_host.get(host).into_iter().flatten();
            let others = all.filter(|other| **other != key);
            others.map(|other| hosts::note(host, subject, other))
        });
        // Those of another namespace are not told apart.
        notes.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The Registries that an object belongs to: its label or its owner says so, or it has the name of a child. The
    /// name counts because anybody can take the labels off.
    pub(super) fn of_child(&self, child: &ObjectMeta) -> Vec<Key> {
        let name = child.name.as_deref().unwrap_or_default();
        let label = child
            .labels
            .as_ref()
            .and_then(|labels| labels.get(REGISTRY_LABEL));
        let owners = child.owner_references.iter().flatten();
        let owners: Vec<&str> = owners
            .filter(|owner| owner.kind == "Registry")
            .map(|owner| owner.name.as_str())
            .collect();
        self.matching(
            child.namespace.as_deref().unwrap_or_default(),
            |registry, known| {
                label.is_some_and(|label| label == known.names.label())
                    || owners.contains(&registry)
                    || known.names.may_name(name)
            },
        )
    }

    /// The Registries whose spec names an object.
    pub(super) fn naming(&self, kind: Named, object: &ObjectMeta) -> Vec<Key> {
        let name = object.name.as_deref().unwrap_or_default();
        self.matching(
            object.namespace.as_deref().unwrap_or_default(),
            |_, known| match kind {
                Named::Secret => known.references.secrets.contains(name),
                Named::ConfigMap => known.references.config_maps.contains(name),
                Named::Claim => known.claim.as_deref() == Some(name),
            },
        )
    }

    /// All Registries.
    pub(super) fn all(&self) -> Vec<Key> {
        self.lock().all.keys().cloned().collect()
    }

    fn matching(&self, namespace: &str, belongs: impl Fn(&str, &Known) -> bool) -> Vec<Key> {
        let state = self.lock();
        let first = (namespace.to_owned(), String::new());
        let here = state.all.range(first..).take_while(|(key, _)| key.0 == namespace);
        here.filter(|(key, known)| belongs(&key.1, known))
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each holder leaves a whole value behind, even one that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives the Registry, and others whose host it claims or gives up.
    fn applied(&mut self, object: &DynamicObject) -> Vec<Key> {
        let key = key_of(&object.metadata);
        // A Registry that cannot be parsed names nothing; its reconcile tells why.
        let parsed = object.clone().try_parse::<Registry>().ok();
        let claim = parsed.as_ref().and_then(|registry| {
            let claim = registry.spec.storage.persistent_volume_claim.as_ref()?;
            claim.claim_name.clone()
        });
        let hosts = parsed
            .as_ref()
            .map(|registry| hosts::claimed(&registry.spec))
            .unwrap_or_default();
        let others = self.claims(&key, &hosts);
        let known = Known {
            hosts,
            names: Names::of(&key.1),
            references: parsed
                .map(|registry| references(&registry.spec))
                .unwrap_or_default(),
            claim,
        };
        self.all.insert(key.clone(), known);
        self.writer
            .apply_watcher_event(&Event::Apply(identity(&key, &object.metadata)));
        std::iter::once(key).chain(others).collect()
    }

    /// Gives the Registry, and others whose host it gives up.
    fn deleted(&mut self, key: &Key) -> Vec<Key> {
        let others = self.claims(key, &BTreeSet::new());
        self.all.remove(key);
        let gone = identity(key, &ObjectMeta::default());
        self.writer.apply_watcher_event(&Event::Delete(gone));
        std::iter::once(key.clone()).chain(others).collect()
    }

    /// Remembers the hosts of a Registry. Gives the other Registries that share one which is new or given up.
    fn claims(&mut self, key: &Key, hosts: &BTreeSet<String>) -> BTreeSet<Key> {
        let before = self
            .all
            .get(key)
            .map(|known| known.hosts.clone())
            .unwrap_or_default();
        let mut others = BTreeSet::new();
        for host in hosts.symmetric_difference(&before) {
            let claiming = self.by_host.entry(host.clone()).or_default();
            others.extend(claiming.iter().cloned());
            if hosts.contains(host) {
                claiming.insert(key.clone());
            } else {
                claiming.remove(key);
            }
            if claiming.is_empty() {
                self.by_host.remove(host);
            }
        }
        others.remove(key);
        others
    }
}

/// All that the controller needs of a Registry.
fn identity(key: &Key, metadata: &ObjectMeta) -> PartialObjectMeta<Registry> {
    PartialObjectMeta {
        types: None,
        metadata: ObjectMeta {
            namespace: Some(key.0.clone()),
            name: Some(key.1.clone()),
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            ..Default::default()
        },
        _phantom: std::marker::PhantomData,
    }
}

fn key_of(metadata: &ObjectMeta) -> Key {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    (namespace, metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, secret: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "Registry",
            "metadata": { "namespace": namespace, "name": name, "uid": "u" },
            "spec": {
                "storage": { "persistentVolumeClaim": { "claimName": "hold" } },
                "auth": { "htpasswd": { "secretKeyRef": { "name": secret } } },
            },
        }))
        .unwrap()
    }

    fn metadata(name: &str, labels: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(json!({ "namespace": "quay", "name": name, "labels": labels })).unwrap()
    }

    fn quay() -> Registries {
        let (registries, _) = Registries::new();
        registries.event(&None, &Event::Apply(object("quay", "harbour", "users")));
        registries.event(&None, &Event::Apply(object("quay", "pier", "sailors")));
        registries.event(&None, &Event::Apply(object("town", "harbour", "users")));
        registries
    }

    fn key(name: &str) -> Vec<Key> {
        vec![("quay".to_owned(), name.to_owned())]
    }

    #[test]
    fn a_child_belongs_to_its_registry_by_label_by_owner_and_by_name() {
        let quay = quay();
        let labelled = metadata("x", json!({ "berth.dev/registry": "pier" }));
        assert_eq!(quay.of_child(&labelled), key("pier"));
        let mut owned = metadata("x", json!({}));
        owned.owner_references = serde_json::from_value(
            json!([{ "apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "name": "pier", "uid": "u" }]),
        )
        .unwrap();
        assert_eq!(quay.of_child(&owned), key("pier"));
        // Somebody took the labels off.
        let bare = metadata("harbour-ca-key", json!({}));
        assert_eq!(quay.of_child(&bare), key("harbour"));
        assert!(quay.of_child(&metadata("harbourmaster", json!({}))).is_empty());
    }

    #[test]
    fn what_a_spec_names_belongs_to_it() {
        let quay = quay();
        let users = metadata("users", json!({}));
        assert_eq!(quay.naming(Named::Secret, &users), key("harbour"));
        assert!(quay.naming(Named::ConfigMap, &users).is_empty());
        let hold = metadata("hold", json!({}));
        assert_eq!(quay.naming(Named::Claim, &hold).len(), 2);
    }

    #[test]
    fn registries_that_a_new_list_does_not_have_are_gone() {
        let (registries, store) = Registries::new();
        let apply = |event| registries.event(&None, &event);
        apply(Event::Apply(object("quay", "harbour", "users")));
        apply(Event::Apply(object("quay", "pier", "sailors")));
        assert_eq!(store.len(), 2);
        apply(Event::Init);
        apply(Event::InitApply(object("quay", "pier", "sailors")));
        assert_eq!(apply(Event::InitDone), key("harbour"));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_registry_that_cannot_be_parsed_is_there_and_names_nothing() {
        let (registries, store) = Registries::new();
        let mut broken = object("quay", "harbour", "users");
        broken.data["spec"]["replicas"] = json!("many");
        let queued = registries.event(&None, &Event::Apply(broken));
        assert_eq!(queued, key("harbour"));
        assert_eq!(store.len(), 1);
        assert!(
            registries
                .naming(Named::Secret, &metadata("users", json!({})))
                .is_empty()
        );
    }

    /// A Registry with this host.
    fn at(name: &str, host: &str) -> DynamicObject {
        let mut object = object("quay", name, "users");
        object.data["spec"]["ingress"] = json!({ "hosts": [host] });
        object
    }

    #[test]
    fn the_others_are_reconciled_when_a_host_is_claimed_and_when_it_is_given_up() {
        let (registries, _) = Registries::new();
        let apply = |object| registries.event(&None, &Event::Apply(object));
        let notes = |name: &str| {
            registries.notes_about_hosts(&Subject {
                namespace: "quay".to_owned(),
                name: name.to_owned(),
                ..Default::default()
            })
        };
        let both = |first: &str, second: &str| [key(first), key(second)].concat();
        assert_eq!(apply(at("harbour", "a.example")), key("harbour"));
        assert!(notes("harbour").is_empty());
        assert_eq!(apply(at("pier", "a.example")), both("pier", "harbour"));
        assert_eq!(apply(at("pier", "a.example")), key("pier"), "nothing has changed");
        assert_eq!(notes("harbour").len(), 1);
        assert_eq!(apply(at("pier", "b.example")), both("pier", "harbour"));
        assert!(notes("harbour").is_empty());
        apply(at("pier", "a.example"));
        let deleted = registries.event(&None, &Event::Delete(at("pier", "a.example")));
        assert_eq!(deleted, both("pier", "harbour"));
        assert!(notes("harbour").is_empty());
    }
}
