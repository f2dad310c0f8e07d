//! The watches: what they tell goes into the cache, and the Registries that it is about into the queue.
//!
//! Guarantees: each kind and namespace has a watch of its own, so that one which fails holds up no other; a failed watch
//! is tried again within [`RETRY_MAX`], and a dead connection is noticed within a minute; a failure is logged once, in a
//! line, until it changes. Every kind in the table of children is watched, whole and by the operator's label; of Secrets,
//! ConfigMaps and claims, which a spec may name, all are watched too, but only their metadata: the Secrets of a whole
//! cluster are never in memory.
//! Start at [`start`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use operator_api::{REGISTRY_LABEL, Registry};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::registries::{Named, Registries};
use crate::cache::{Cache, Kind, WatchOf};
use crate::children::for_each_child;
use crate::fault::{GRANT_THE_ROLE, chain, is_missing_right};
use crate::health::Health;
use crate::work_queue::WorkQueue;

/// The API server ends a watch after so many seconds, and kube ends one on which nothing came for five more. A longer
/// time would leave a dead connection unnoticed for longer.
pub(super) const WATCH_SECONDS: u32 = 50;
/// The first delay after a failure.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest delay after a failure. Rights that are granted and definitions that are installed later are noticed
/// within it.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A failure that stays the same is logged again after so long.
const REPEAT_LOG: Duration = Duration::from_secs(300);

/// The parts of the operator that the watches fill.
#[derive(Clone)]
pub(super) struct Sinks {
    pub(super) cache: Cache,
    pub(super) registries: Arc<Registries>,
    pub(super) queue: WorkQueue,
    pub(super) health: Health,
}

impl Sinks {
    /// Starts a reconcile of every Registry: each may have waited for the watch that works again.
    fn queue_all(&self) {
        for (namespace, name) in self.registries.all() {
            self.queue.add(&namespace, &name);
        }
    }
}

/// Starts every watch in each of `namespaces`; `None` is all namespaces. They end when the result is dropped.
pub(super) fn start(client: &Client, namespaces: &[Option<String>], sinks: &Sinks) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for namespace in namespaces {
        let scope = Scope {
            client,
            namespace,
            sinks,
        };
        scope.registries(&mut tasks);
        for resource in labelled_resources() {
            scope.labelled(&mut tasks, &resource);
        }
        scope.named::<Secret>(&mut tasks, Named::Secret);
        scope.named::<ConfigMap>(&mut tasks, Named::ConfigMap);
        scope.named::<PersistentVolumeClaim>(&mut tasks, Named::Claim);
    }
    tasks
}

/// The kinds of all children, and of what their controllers make with the same labels.
fn labelled_resources() -> Vec<ApiResource> {
    let mut kinds: Vec<ApiResource> = Vec::new();
    let mut add = |resource: ApiResource| {
        if !kinds.contains(&resource) {
            kinds.push(resource);
        }
    };
    macro_rules! add_all {
        ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
            $(add(ApiResource::erase::<$kind>(&()));)*
        };
    }
    for_each_child!(add_all);
    add(ApiResource::erase::<EndpointSlice>(&()));
    add(ApiResource::erase::<Pod>(&()));
    kinds
}

struct Scope<'a> {
    client: &'a Client,
    namespace: &'a Option<String>,
    sinks: &'a Sinks,
}

impl Scope<'_> {
    /// Watches all Registries. One that cannot be parsed is passed on like any other: its reconcile tells why.
    fn registries(&self, tasks: &mut JoinSet<()>) {
        let resource = ApiResource::erase::<Registry>(&());
        let watch = self.watch_of(&resource);
        self.sinks.cache.announce(&watch, false);
        let (sinks, of) = (self.sinks.clone(), watch.clone());
        let on_event = move |event: &Event<DynamicObject>| {
            sinks.cache.event(&of, event);
            for (namespace, name) in sinks.registries.event(&of.namespace, event) {
                if matches!(event, Event::Delete(_)) {
                    sinks.cache.forget_named(&namespace);
                }
                sinks.queue.add(&namespace, &name);
            }
            if matches!(event, Event::InitDone) {
                sinks.health.set_ready();
            }
        };
        let (cache, of) = (self.sinks.cache.clone(), watch.clone());
        let on_failure = move |refused| cache.watch_failed(&of, false, refused);
        let config = watcher::Config::default();
        tasks.spawn(follow(
            self.dynamic(&resource),
            config,
            watch,
            self.sinks.clone(),
            on_event,
            on_failure,
        ));
    }

    /// Watches the objects of one kind that have the operator's label.
    fn labelled(&self, tasks: &mut JoinSet<()>, resource: &ApiResource) {
        let watch = self.watch_of(resource);
        self.sinks.cache.announce(&watch, true);
        let (sinks, of) = (self.sinks.clone(), watch.clone());
        let on_event = move |event: &Event<DynamicObject>| {
            sinks.cache.event(&of, event);
            if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = event {
                for (namespace, name) in sinks.registries.of_child(&object.metadata) {
                    sinks.queue.add(&namespace, &name);
                }
            }
        };
        let (cache, of) = (self.sinks.cache.clone(), watch.clone());
        let on_failure = move |refused| cache.watch_failed(&of, false, refused);
        let config = watcher::Config::default().labels(REGISTRY_LABEL);
        tasks.spawn(follow(
            self.dynamic(resource),
            config,
            watch,
            self.sinks.clone(),
            on_event,
            on_failure,
        ));
    }

    /// Watches the metadata of all objects of a kind that specs name.
    fn named<K>(&self, tasks: &mut JoinSet<()>, kind: Named)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let watch = WatchOf {
            kind: Kind::of::<K>(),
            namespace: self.namespace.clone(),
        };
        self.sinks.cache.announce_named(&watch);
        let (sinks, of) = (self.sinks.clone(), watch.clone());
        let on_event = move |event: &Event<PartialObjectMeta<K>>| {
            sinks.cache.named_event(&of, event);
            if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = event {
                let metadata = &object.metadata;
                let mut all = sinks.registries.naming(kind, metadata);
                // The watch by label does not see a child whose label was taken off.
                all.extend(sinks.registries.of_child(metadata));
                for (namespace, name) in all {
                    sinks.queue.add(&namespace, &name);
                }
            }
        };
        let (cache, of) = (self.sinks.cache.clone(), watch.clone());
        let on_failure = move |refused| cache.watch_failed(&of, true, refused);
        let api: Api<PartialObjectMeta<K>> = match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let config = watcher::Config::default();
        tasks.spawn(follow(
            api,
            config,
            watch,
            self.sinks.clone(),
            on_event,
            on_failure,
        ));
    }

    fn watch_of(&self, resource: &ApiResource) -> WatchOf {
        WatchOf {
            kind: Kind {
                group: resource.group.clone(),
                plural: resource.plural.clone(),
            },
            namespace: self.namespace.clone(),
        }
    }

    fn dynamic(&self, resource: &ApiResource) -> Api<DynamicObject> {
        match self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }
}

/// Follows one watch for ever.
async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    watch: WatchOf,
    sinks: Sinks,
    on_event: impl Fn(&Event<K>) + Send,
    on_failure: impl Fn(Option<String>) + Send,
) where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = Box::pin(watcher(api, config.timeout(WATCH_SECONDS)));
    let mut failures = Failures::new(watch);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // Every list begins with `Init`, also one that will fail.
                let works_after_failures = !matches!(event, Event::Init) && failures.end();
                on_event(&event);
                if works_after_failures {
                    sinks.queue_all();
                }
            }
            Err(error) => {
                on_failure(refused(&error));
                tokio::time::sleep(failures.next(&error)).await;
            }
        }
    }
}

/// The failures in a row of one watch: the delay until it is tried again, and what was logged of them.
struct Failures {
    watch: WatchOf,
    delay: Duration,
    logged: Option<(String, Instant)>,
}

impl Failures {
    fn new(watch: WatchOf) -> Self {
        Self {
            watch,
            delay: RETRY_FIRST,
            logged: None,
        }
    }

    /// The watch works. Says whether it has failed before.
    fn end(&mut self) -> bool {
        self.delay = RETRY_FIRST;
        let failed = self.logged.take().is_some();
        if failed {
            tracing::info!(
                kind = self.watch.kind.plural,
                namespace = self.watch.namespace,
                "a watch works again"
            );
        }
        failed
    }

    fn next(&mut self, error: &watcher::Error) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(RETRY_MAX);
        if !expired(error) {
            self.log(error);
        }
        delay.mul_f32(0.5 + rand::random::<f32>() / 2.0)
    }

    fn log(&mut self, error: &watcher::Error) {
        let text = message(error);
        let again = |(logged, at): &(String, Instant)| *logged == text && at.elapsed() < REPEAT_LOG;
        if self.logged.as_ref().is_some_and(again) {
            return;
        }
        tracing::warn!(
            kind = self.watch.kind.plural,
            namespace = self.watch.namespace,
            hint = hint(&self.watch, error),
            "a watch fails and is tried again: {text}"
        );
        self.logged = Some((text, Instant::now()));
    }
}

/// The API server's words when the right to a watch is missing.
fn refused(error: &watcher::Error) -> Option<String> {
    let status = api_status(error).filter(|status| is_missing_right(status))?;
    Some(status.message.clone())
}

/// Whether the place where the watch went on is too old. The next list is not.
fn expired(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::WatchError(status) => Some(&**status),
        _ => api_status(error),
    };
    status.is_some_and(|status| status.code == 410)
}

fn api_status(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// The cause in one short line. kube's own text repeats each cause and prints the API server's whole answer.
fn message(error: &watcher::Error) -> String {
    let text = match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => chain(cause),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => chain(error),
    };
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(300).collect()
}

/// The way out, where there is one.
fn hint(watch: &WatchOf, error: &watcher::Error) -> Option<&'static str> {
    let status = api_status(error)?;
    if is_missing_right(status) {
        return Some(GRANT_THE_ROLE);
    }
    let missing = status.code == 404 && watch.kind.plural == "registries";
    missing.then_some("install the definition (`kubectl apply -k config/crd`)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(message: &str) -> watcher::Error {
        let status = kube::core::Status::failure(message, "Forbidden").with_code(403);
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    fn pods() -> WatchOf {
        WatchOf {
            kind: Kind::of::<Pod>(),
            namespace: None,
        }
    }

    #[test]
    fn a_failure_is_logged_once_until_it_changes_and_retried_within_seconds() {
        let mut failures = Failures::new(pods());
        let error =
            forbidden("pods is forbidden: User \"u\" cannot list resource \"pods\" in API group \"\"");
        for _ in 0..20 {
            assert!(failures.next(&error) <= RETRY_MAX);
        }
        let first = failures.logged.clone();
        assert_eq!(failures.delay, RETRY_MAX);
        failures.next(&error);
        assert_eq!(failures.logged, first, "not logged again");
        failures.next(&forbidden("another"));
        assert_ne!(failures.logged, first);
        failures.end();
        assert_eq!((failures.delay, &failures.logged), (RETRY_FIRST, &None));
    }

    #[test]
    fn a_failure_is_one_short_line_with_a_way_out() {
        let error = forbidden(&format!(
            "pods is forbidden: User \"u\" cannot list resource \"pods\"\n{}",
            "x".repeat(12_000)
        ));
        let line = message(&error);
        assert!(line.len() <= 300 && !line.contains('\n'), "{line}");
        assert!(hint(&pods(), &error).unwrap().contains("ClusterRole"));
        assert_eq!(hint(&pods(), &forbidden("exceeded quota")), None);
    }

    #[test]
    fn a_list_that_is_too_old_is_no_failure_worth_a_line() {
        let gone = kube::core::Status::failure("too old resource version", "Expired").with_code(410);
        assert!(expired(&watcher::Error::WatchError(Box::new(gone))));
        assert!(!expired(&forbidden("x")));
    }

    #[test]
    fn every_kind_of_the_table_is_watched_once() {
        let kinds = labelled_resources();
        let all: Vec<&str> = kinds.iter().map(|kind| kind.kind.as_str()).collect();
        for kind in [
            "Secret",
            "ConfigMap",
            "Deployment",
            "Ingress",
            "EndpointSlice",
            "Pod",
        ] {
            assert_eq!(all.iter().filter(|found| **found == kind).count(), 1, "{kind}");
        }
    }
}
