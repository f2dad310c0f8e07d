//! Follows the kinds that a cluster may not have: whether it has them, and the operator's objects of those it has.
//!
//! Guarantees: a kind that appears, or goes, is noticed within [`CHECK`] and starts a reconcile of every Registry; a
//! changed object starts one of its Registry. A cluster without the kinds costs one small request for each in that time.
//! Must not: hold up the start of the operator. Start at [`OptionalResources::follow`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use kube::api::{DynamicObject, ListParams};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use operator_api::REGISTRY_LABEL;
use tokio::task::JoinSet;

use super::watch::{Sinks, WATCH_SECONDS};
use crate::fault::chain;
use crate::names::Names;
use crate::optional::{OptionalKind, OptionalObjects};
use crate::subject::Subject;

/// The time between two questions whether the cluster has a kind. No watch can tell without rights on definitions.
const CHECK: Duration = Duration::from_secs(15);

/// The optional objects of all Registries.
#[derive(Clone)]
pub(super) struct OptionalResources {
    stores: Arc<Mutex<BTreeMap<OptionalKind, Store<DynamicObject>>>>,
}

impl OptionalResources {
    /// Starts to follow the kinds. The tasks end when the set is dropped.
    pub(super) fn follow(client: &Client, namespace: Option<&str>, sinks: &Sinks) -> (Self, JoinSet<()>) {
        let this = Self {
            stores: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        for kind in OptionalKind::ALL {
            let resource = kind.resource();
            let api = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            let follower = Follower {
                kind,
                api,
                resources: this.clone(),
                sinks: sinks.clone(),
            };
            tasks.spawn(follower.run());
        }
        (this, tasks)
    }

    /// The objects of one Registry.
    pub(super) fn objects(&self, subject: &Subject) -> OptionalObjects {
        let name = Names::of(&subject.name).optional();
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let found = stores.iter().map(|(kind, store)| {
            let key = ObjectRef::new_with(&name, kind.resource()).within(&subject.namespace);
            (*kind, store.get(&key).map(|object| (*object).clone()))
        });
        OptionalObjects(found.collect())
    }

    fn set(&self, kind: OptionalKind, store: Option<Store<DynamicObject>>) {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        match store {
            Some(store) => stores.insert(kind, store),
            None => stores.remove(&kind),
        };
    }
}

/// Follows one kind.
struct Follower {
    kind: OptionalKind,
    api: Api<DynamicObject>,
    resources: OptionalResources,
    sinks: Sinks,
}

impl Follower {
    async fn run(self) {
        loop {
            // 404 means that the cluster does not have the kind, 403 that the operator may not use it.
            if self.api.list(&ListParams::default().limit(1)).await.is_ok() {
                self.watch().await;
                self.resources.set(self.kind, None);
                self.reconcile_all();
            }
            tokio::time::sleep(CHECK).await;
        }
    }

    /// Watches the operator's objects of the kind until the cluster no longer has it.
    async fn watch(&self) {
        let writer = Writer::<DynamicObject>::new(self.kind.resource());
        let reader = writer.as_reader();
        let ours = watcher::Config::default()
            .labels(REGISTRY_LABEL)
            .timeout(WATCH_SECONDS);
        let events = watcher(self.api.clone(), ours)
            .modify(|object| object.metadata.managed_fields = None)
            .default_backoff()
            .reflect(writer);
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::InitDone) => {
                    self.resources.set(self.kind, Some(reader.clone()));
                    self.reconcile_all();
                }
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                    for (namespace, name) in self.sinks.registries.of_child(&object.metadata) {
                        self.sinks.queue.add(&namespace, &name);
                    }
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Err(error) if is_gone(&error) => return,
                Err(error) => {
                    let kind = self.kind.resource().kind;
                    tracing::warn!(kind, error = %chain(&error), "a watch fails and is tried again");
                }
            }
        }
    }

    fn reconcile_all(&self) {
        for (namespace, name) in self.sinks.registries.all() {
            self.sinks.queue.add(&namespace, &name);
        }
    }
}

/// Whether the API server no longer knows the kind.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.is_not_found(),
        _ => false,
    }
}
