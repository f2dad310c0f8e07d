//! First step: everything that a reconcile needs to know.
//!
//! Guarantees: reads only, and only objects of the Registry's namespace (and the storage class of its claim). What the
//! cache vouches for is not asked for again; the rest is, and the answer kept. An object that cannot be read is no end of
//! the reconcile: it is told, and only what depends on it waits. Objects of somebody else are recognised here, so that
//! no later step can take one for a child. Start at [`facts`].

mod given;
mod obsolete;

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures_util::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, ObjectMeta};
use kube::core::{ClusterResourceScope, DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use operator_api::{REGISTRY_LABEL, Registry, is_object_name};
use serde::de::DeserializeOwned;

pub(crate) use obsolete::Obsolete;

use crate::cache::{Cache, Cached};
use crate::children::{ChildObject, Children, Existing, Found, for_each_child};
use crate::fault::{Fault, GRANT_THE_ROLE, chain, missing_right_hint};
use crate::findings::Rollout;
use crate::names::Names;
use crate::optional::OptionalObjects;
use crate::ownership::Lifetime;
use crate::pod_layout::answers_both;
use crate::pod_references::PodReferences;
use crate::quantity::millis;
use crate::references::{Named, references};
use crate::subject::Subject;

/// The label by which an EndpointSlice names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The objects of one moment.
pub struct Facts {
    /// That moment.
    pub now: Timestamp,
    /// Secrets that the Registry names; `None` for one that does not exist.
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// ConfigMaps that the Registry names; `None` for one that does not exist.
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// The objects that the spec names, which belong to people.
    pub(crate) named: Named,
    /// The claim of `claimName`.
    pub named_claim: Option<PersistentVolumeClaim>,
    /// Whether the storage class of the claim made from the template lets it grow; `None` without a class or a claim.
    pub claim_can_grow: Option<bool>,
    /// The objects of kinds that a cluster may not have.
    pub optional: OptionalObjects,
    /// The objects under the names of the Registry's children.
    pub existing: Children<Existing>,
    /// Endpoints of the Service.
    pub endpoints: Vec<EndpointSlice>,
    /// The Pods, while not all of them are new and ready; otherwise they are not asked for.
    pub pods: Vec<Pod>,
    /// Immutable objects that no Pod and no Deployment uses any more.
    pub(crate) obsolete: Obsolete,
    /// Objects that the Registry names and that could not be read, by kind and name.
    pub unreadable: BTreeMap<(&'static str, String), Unreadable>,
}

/// Why an object could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// The party that must act.
    pub fault: Fault,
    /// The API server's words.
    pub problem: String,
    /// The next thing that a person can do.
    pub hint: Option<String>,
}

/// Deliberately without contents, because it holds Secrets.
impl Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").finish_non_exhaustive()
    }
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request for one object.
    #[error("cannot get {kind} `{name}`")]
    Get {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// A request for objects by a label.
    #[error("cannot list each {kind} with label `{label}`")]
    List {
        /// Their kind.
        kind: String,
        /// The label.
        label: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The operator may not watch a kind: changes are noticed late, and each reconcile sends requests.
    #[error("cannot watch {plural}: {words}")]
    Watch {
        /// The plural of the kind.
        plural: String,
        /// The API server's words.
        words: String,
    },
    /// The API server stores a Registry that this version of the operator cannot parse.
    #[error("cannot parse Registry `{name}`: {problem}")]
    Unparsable {
        /// Its name.
        name: String,
        /// The parser's message.
        problem: String,
    },
}

impl Error {
    /// The party that must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Get { source, .. } | Self::List { source, .. } => Fault::of(source),
            Self::Watch { .. } => Fault::Waiting,
            Self::Unparsable { .. } => Fault::Caller,
        }
    }

    /// The next thing that a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Get { source, .. } | Self::List { source, .. } => missing_right_hint(source),
            Self::Watch { .. } => Some(GRANT_THE_ROLE.to_owned()),
            Self::Unparsable { .. } => None,
        }
    }

    /// Whether the operator lacks a right, and the same one as `other` does.
    fn is_same_missing_right(&self, other: &Self) -> bool {
        let missing = |error: &Self| match error {
            Self::Get { kind, source, .. } | Self::List { kind, source, .. } => {
                missing_right_hint(source).map(|_| kind.clone())
            }
            Self::Watch { .. } | Self::Unparsable { .. } => None,
        };
        missing(self).is_some_and(|kind| missing(other) == Some(kind))
    }
}

/// Where objects are read: the cache, and the API server for what the cache does not vouch for.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The cache.
    pub cache: &'a Cache,
}

/// The Registry as it is now, with the status that the operator wrote last; `None` when it is gone or being deleted.
///
/// # Errors
/// The request failed, or the Registry cannot be parsed.
pub async fn registry(source: Source<'_>, subject: &Subject) -> Result<Option<Registry>, Error> {
    let Source { client, cache } = source;
    let unparsable = |problem: String| Error::Unparsable {
        name: subject.name.clone(),
        problem,
    };
    let known = cache.get::<Registry>(&subject.namespace, &subject.name);
    let ticket = match known.map_err(|error| unparsable(error.to_string()))? {
        Cached::Known(found) => return Ok(found.filter(is_wanted)),
        Cached::Ask(ticket) => ticket,
    };
    let found: Option<DeserializeGuard<Registry>> =
        get(client, &subject.namespace, subject.name.clone()).await?;
    match found {
        Some(DeserializeGuard(Ok(registry))) => {
            cache.settle(ticket, Some(&registry));
            Ok(Some(registry).filter(is_wanted))
        }
        Some(DeserializeGuard(Err(invalid))) => Err(unparsable(invalid.error)),
        None => {
            cache.settle(ticket, None::<&Registry>);
            Ok(None)
        }
    }
}

/// Whether this very Registry is gone or being deleted, as the API server has it.
///
/// # Errors
/// The request failed.
pub async fn is_gone(client: &Client, subject: &Subject) -> Result<bool, Error> {
    let api = Api::<Registry>::namespaced(client.clone(), &subject.namespace);
    let found = api.get_metadata_opt(&subject.name).await;
    let found = found.map_err(|source| Error::Get {
        kind: Registry::kind(&()).into_owned(),
        name: subject.name.clone(),
        source: Box::new(source),
    })?;
    Ok(found.is_none_or(|found| {
        found.metadata.uid.as_ref() != Some(&subject.uid) || found.metadata.deletion_timestamp.is_some()
    }))
}

fn is_wanted(registry: &Registry) -> bool {
    registry.metadata.deletion_timestamp.is_none()
}

/// Reads the objects that `registry` names and those under the names of its children. Gives beside them what could not
/// be read.
pub async fn facts(
    source: Source<'_>,
    registry: &Registry,
    subject: &Subject,
    optional: OptionalObjects,
) -> (Facts, Vec<Error>) {
    let reader = Reader {
        source,
        namespace: &subject.namespace,
    };
    let mut problems = Vec::new();
    let mut unreadable = BTreeMap::new();
    let names = Names::of(&subject.name);
    let named = references(&registry.spec);
    let template = registry.spec.storage.persistent_volume_claim.as_ref();
    // Another name would be another request. `validate` tells it.
    let claim_name = template
        .and_then(|claim| claim.claim_name.clone())
        .filter(|name| is_object_name(name));
    let (secrets, config_maps, claims, endpoints, children) = futures_util::join!(
        reader.all(named.secrets),
        reader.all(named.config_maps),
        reader.all(claim_name),
        reader.endpoints(&names),
        reader.children(subject, &names),
    );
    let secrets = readable(secrets, &mut unreadable);
    let config_maps = readable(config_maps, &mut unreadable);
    let named_claim = readable(claims, &mut unreadable).into_values().next().flatten();
    let existing = without_problems(children, &mut problems);
    let asked = template.and_then(|claim| Some(claim.template.as_ref()?.size.as_str()));
    let (obsolete, claim_can_grow, pods) = futures_util::join!(
        reader.obsolete(existing.deployment.ours(), subject, &names),
        reader.claim_can_grow(existing.claim.ours(), asked),
        reader.unready_pods(existing.deployment.ours(), &names),
    );
    let refused = source.cache.refused_watches().into_iter();
    problems.extend(refused.map(|(kind, words)| Error::Watch {
        plural: kind.plural,
        words,
    }));
    let existing = match existing.claim {
        Found::Absent if had_claim(registry) => Children {
            claim: reader.claim_without_label(subject, &names, &mut problems).await,
            ..existing
        },
        _ => existing,
    };
    let facts = Facts {
        now: Timestamp::now(),
        named: Named::of(&registry.spec),
        obsolete,
        secrets,
        config_maps,
        named_claim,
        claim_can_grow: claim_can_grow
            .map_err(|error| problems.push(error))
            .unwrap_or_default(),
        pods: pods.map_err(|error| problems.push(error)).unwrap_or_default(),
        endpoints: endpoints
            .map_err(|error| problems.push(error))
            .unwrap_or_default(),
        optional,
        existing,
        unreadable,
    };
    (facts, problems)
}

/// Whether the Registry's content was on a claim.
fn had_claim(registry: &Registry) -> bool {
    let storage = registry
        .status
        .as_ref()
        .and_then(|status| status.storage.as_ref());
    storage.is_some_and(|storage| storage.claim_uid.is_some())
}

/// Separates what could be read.
fn readable<K: k8s_openapi::Resource>(
    results: BTreeMap<String, Result<Option<K>, Error>>,
    unreadable: &mut BTreeMap<(&'static str, String), Unreadable>,
) -> BTreeMap<String, Option<K>> {
    let mut found = BTreeMap::new();
    for (name, result) in results {
        match result {
            Ok(object) => {
                found.insert(name, object);
            }
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let why = Unreadable {
                    fault: error.fault(),
                    hint: error.hint(),
                    problem: cause.map_or_else(|| error.to_string(), chain),
                };
                unreadable.insert((K::KIND, name), why);
            }
        }
    }
    found
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    source: Source<'a>,
    namespace: &'a str,
}

impl Reader<'_> {
    /// The objects under the children's names, and those that could not be read.
    async fn children(self, subject: &Subject, names: &Names) -> (Children<Existing>, Vec<Error>) {
        let mut problems: Vec<Error> = Vec::new();
        // It says which of the immutable objects are in use. When it cannot be read, that is told below.
        let deployment = self
            .child::<Deployment>(names.deployment())
            .await
            .unwrap_or_default();
        let used = obsolete::used_by(deployment.as_ref());
        macro_rules! get_all {
            ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {{
                // On the heap: together they are too large for a thread's stack.
                let ($($field,)*) = futures_util::join!($(
                    Box::pin(self.in_use::<$kind>(Lifetime::$lifetime, names.$name(), &used)),
                )*);
                Children {
                    $($field: match $field {
                        Ok(object) => Found::of(object, Lifetime::$lifetime, subject),
                        Err(error) => {
                            // One missing right is told once, however many objects of its kind there are.
                            if !problems.iter().any(|told| told.is_same_missing_right(&error)) {
                                problems.push(error);
                            }
                            Found::Unreadable
                        }
                    },)*
                }
            }};
        }
        let mut children: Children<Existing> = for_each_child!(get_all);
        // The watches do not see objects without the operator's label. Where one was found, all are looked for, so that
        // its owner is told of all at once.
        macro_rules! ask_all {
            ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
                if $(matches!(children.$field, Found::Foreign) ||)* false {
                    $(if Lifetime::$lifetime != Lifetime::Immutable && matches!(children.$field, Found::Absent) {
                        match Box::pin(get::<$kind>(self.source.client, self.namespace, names.$name())).await {
                            Ok(object) => children.$field = Found::of(object, Lifetime::$lifetime, subject),
                            Err(error) => problems.push(error),
                        }
                    })*
                }
            };
        }
        for_each_child!(ask_all);
        (children, problems)
    }

    /// The child with this name; of an immutable one, the object of that name that the Deployment uses.
    async fn in_use<K: ChildObject>(
        self,
        lifetime: Lifetime,
        name: String,
        used: &PodReferences,
    ) -> Result<Option<K>, Error> {
        let name = match lifetime == Lifetime::Immutable {
            true => used.revision::<K>(&name),
            false => Some(name),
        };
        match name {
            Some(name) => self.child(name).await,
            None => Ok(None),
        }
    }

    /// The immutable objects that nothing uses after a rollout. When one of the requests fails there are none.
    async fn obsolete(self, deployment: Option<&Deployment>, subject: &Subject, names: &Names) -> Obsolete {
        let Some(deployment) = deployment.filter(|found| Rollout::of(found) == Rollout::Complete) else {
            return Obsolete::default();
        };
        let read = async {
            let (config_maps, secrets) =
                futures_util::try_join!(self.metadata::<ConfigMap>(names), self.metadata::<Secret>(names))?;
            let candidates = obsolete::candidates(config_maps, secrets, deployment, subject, names);
            if candidates.is_empty() {
                return Ok(candidates);
            }
            // Asked for, because a cache that lags behind might not know a Pod.
            let label = || format!("{REGISTRY_LABEL}={}", names.label());
            let (sets, pods) = futures_util::try_join!(self.list(label()), self.list(label()))?;
            Ok(candidates.unused(sets, pods))
        };
        read.await.unwrap_or_else(|error: Error| {
            tracing::warn!(registry = subject.name, error = %chain(&error), "earlier configurations stay for now, because it is unknown whether a Pod uses them");
            Obsolete::default()
        })
    }

    /// The metadata of the Registry's objects of kind `K`.
    async fn metadata<K: ChildObject>(self, names: &Names) -> Result<Vec<ObjectMeta>, Error> {
        let objects = match self.source.cache.labelled::<K>(self.namespace, names.label()) {
            Some(objects) => objects,
            None => self.list(format!("{REGISTRY_LABEL}={}", names.label())).await?,
        };
        Ok(objects.iter().map(|object| object.meta().clone()).collect())
    }

    async fn child<K: ChildObject>(self, name: String) -> Result<Option<K>, Error> {
        let known = self.source.cache.get::<K>(self.namespace, &name);
        self.known_or_asked(name, known).await
    }

    async fn all<K: ChildObject>(
        self,
        names: impl IntoIterator<Item = String>,
    ) -> BTreeMap<String, Result<Option<K>, Error>> {
        let requests = names.into_iter().map(async |name| {
            let known = self.source.cache.named::<K>(self.namespace, &name);
            (name.clone(), self.known_or_asked(name, known).await)
        });
        join_all(requests).await.into_iter().collect()
    }

    async fn known_or_asked<K: ChildObject>(
        self,
        name: String,
        known: Result<Cached<K>, serde_json::Error>,
    ) -> Result<Option<K>, Error> {
        let ticket = match known {
            Ok(Cached::Known(found)) => return Ok(found),
            Ok(Cached::Ask(ticket)) => Some(ticket),
            // The request's own error is about the object as it is now.
            Err(_) => None,
        };
        let found = get(self.source.client, self.namespace, name).await?;
        if let Some(ticket) = ticket {
            self.source.cache.settle(ticket, found.as_ref());
        }
        Ok(found)
    }

    /// The claim, asked for although the watch does not see it: nobody is told of lost content because of a label.
    async fn claim_without_label(
        self,
        subject: &Subject,
        names: &Names,
        problems: &mut Vec<Error>,
    ) -> Found<PersistentVolumeClaim> {
        match get(self.source.client, self.namespace, names.claim()).await {
            Ok(claim) => Found::of(claim, Lifetime::Lasting, subject),
            Err(error) => {
                problems.push(error);
                Found::Unreadable
            }
        }
    }

    async fn endpoints(self, names: &Names) -> Result<Vec<EndpointSlice>, Error> {
        let service = names.service();
        // EndpointSlices have the labels of their Service, and this one.
        let of_service = |slice: &EndpointSlice| {
            let labels = slice.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get(SERVICE_LABEL)) == Some(&service)
        };
        if let Some(slices) = self
            .source
            .cache
            .labelled::<EndpointSlice>(self.namespace, names.label())
        {
            return Ok(slices.into_iter().filter(of_service).collect());
        }
        self.list(format!("{SERVICE_LABEL}={service}")).await
    }

    async fn unready_pods(self, deployment: Option<&Deployment>, names: &Names) -> Result<Vec<Pod>, Error> {
        let ready = deployment.is_none_or(|deployment| {
            let wanted = deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(0);
            let status = deployment.status.as_ref();
            let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
            // A new Pod that crashes stands beside enough old ones that are ready.
            // While Pods answer plain HTTP and TLS, earlier ones that are ending answer one of both.
            ready >= wanted && Rollout::of(deployment) == Rollout::Complete && !answers_both(deployment)
        });
        if ready {
            return Ok(Vec::new());
        }
        if let Some(pods) = self.source.cache.labelled::<Pod>(self.namespace, names.label()) {
            return Ok(pods);
        }
        self.list(format!("{REGISTRY_LABEL}={}", names.label())).await
    }

    async fn list<K: ChildObject>(self, label: String) -> Result<Vec<K>, Error> {
        let api = Api::<K>::namespaced(self.source.client.clone(), self.namespace);
        match api.list(&ListParams::default().labels(&label)).await {
            Ok(list) => Ok(list.items),
            Err(source) => Err(Error::List {
                kind: K::kind(&()).into_owned(),
                label,
                source: Box::new(source),
            }),
        }
    }

    /// Whether the claim can grow to the size that is asked for. Not asked while it has that size.
    async fn claim_can_grow(
        self,
        claim: Option<&PersistentVolumeClaim>,
        asked: Option<&str>,
    ) -> Result<Option<bool>, Error> {
        let spec = claim.and_then(|claim| claim.spec.as_ref());
        let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        let held = requests.and_then(|requests| Some(requests.get("storage")?.0.as_str()));
        let class = spec.and_then(|spec| spec.storage_class_name.clone());
        let Some(name) =
            class.filter(|name| !name.is_empty() && held.and_then(millis) != asked.and_then(millis))
        else {
            return Ok(None);
        };
        let class: Option<StorageClass> = match cluster_object(self.source.client, name).await {
            // With rights in one namespace only, classes cannot be read. The API server then refuses what cannot grow.
            Err(Error::Get { source, .. }) if is_forbidden(&source) => None,
            other => other?,
        };
        Ok(class.map(|class| class.allow_volume_expansion.unwrap_or(false)))
    }
}

fn without_problems<T>((found, errors): (T, Vec<Error>), problems: &mut Vec<Error>) -> T {
    problems.extend(errors);
    found
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

async fn get<K>(client: &Client, namespace: &str, name: String) -> Result<Option<K>, Error>
where
    K: Clone + Debug + DeserializeOwned + Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    api.get_opt(&name).await.map_err(|source| Error::Get {
        kind: K::kind(&()).into_owned(),
        name,
        source: Box::new(source),
    })
}

async fn cluster_object<K>(client: &Client, name: String) -> Result<Option<K>, Error>
where
    K: Clone + Debug + DeserializeOwned + Resource<Scope = ClusterResourceScope, DynamicType = ()>,
{
    Api::<K>::all(client.clone())
        .get_opt(&name)
        .await
        .map_err(|source| Error::Get {
            kind: K::kind(&()).into_owned(),
            name,
            source: Box::new(source),
        })
}
