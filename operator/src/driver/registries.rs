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

use crate::names::Names;
use crate::references::{References, references};

/// Namespace and name.
type Key = (String, String);

/// The Registries that exist.
pub(super) struct Registries(Mutex<State>);

struct State {
    all: BTreeMap<Key, Known>,
    writer: Writer<PartialObjectMeta<Registry>>,
    /// By namespace of the watch, the Registries of a list that is being read.
    lists: BTreeMap<Option<String>, BTreeSet<Key>>,
}

/// The names by which objects belong to a Registry.
struct Known {
    names: Names,
    references: References,
    claim: Option<String>,
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
            lists: BTreeMap::new(),
        };
        (Self(Mutex::new(state)), reader)
    }

    /// Takes an event of the watch on Registries. Gives the Registries to reconcile and, after a list, those that are
    /// gone.
    pub(super) fn event(&self, watched: &Option<String>, event: &Event<DynamicObject>) -> Vec<Key> {
        let mut state = self.lock();
        match event {
            Event::Init => {
                state.lists.insert(watched.clone(), BTreeSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let key = state.applied(object);
                if let Some(seen) = state.lists.get_mut(watched) {
                    seen.insert(key.clone());
                }
                vec![key]
            }
            Event::Apply(object) => vec![state.applied(object)],
            Event::Delete(object) => {
                let key = key_of(&object.metadata);
                state.deleted(&key);
                vec![key]
            }
            Event::InitDone => {
                let seen = state.lists.remove(watched).unwrap_or_default();
                let known = state.all.keys().filter(|key| {
                    watched.as_ref().is_none_or(|namespace| *namespace == key.0) && !seen.contains(*key)
                });
                let gone: Vec<Key> = known.cloned().collect();
                for key in &gone {
                    state.deleted(key);
                }
                gone
            }
        }
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
    fn applied(&mut self, object: &DynamicObject) -> Key {
        let key = key_of(&object.metadata);
        // A Registry that cannot be parsed names nothing; its reconcile tells why.
        let parsed = object.clone().try_parse::<Registry>().ok();
        let claim = parsed.as_ref().and_then(|registry| {
            let claim = registry.spec.storage.persistent_volume_claim.as_ref()?;
            claim.claim_name.clone()
        });
        let known = Known {
            names: Names::of(&key.1),
            references: parsed
                .map(|registry| references(&registry.spec))
                .unwrap_or_default(),
            claim,
        };
        self.all.insert(key.clone(), known);
        self.writer
            .apply_watcher_event(&Event::Apply(identity(&key, &object.metadata)));
        key
    }

    fn deleted(&mut self, key: &Key) {
        self.all.remove(key);
        let gone = identity(key, &ObjectMeta::default());
        self.writer.apply_watcher_event(&Event::Delete(gone));
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
}
