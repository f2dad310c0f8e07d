//! First step: everything that a reconcile needs to know, fetched from the API server.
//!
//! Guarantees: reads only, and only objects of the Registry's namespace (and the storage class of its claim); each is
//! fetched again, because a cache that lags behind the operator's writes would make it write twice; objects of
//! somebody else are recognised here, so that no later step can take one for a child. Start at [`facts`].

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::core::{ClusterResourceScope, DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use operator_api::{REGISTRY_LABEL, Registry};
use serde::de::DeserializeOwned;

use crate::children::{Children, Existing, Found, for_each_child};
use crate::fault::Fault;
use crate::names::Names;
use crate::ownership::Lifetime;
use crate::references::{Named, references};
use crate::subject::Subject;

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
    /// The objects under the names of the Registry's children.
    pub existing: Children<Existing>,
    /// Endpoints of the Service.
    pub endpoints: Vec<EndpointSlice>,
    /// The Pods, while not all of them are ready; otherwise they are not asked for.
    pub pods: Vec<Pod>,
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
            Self::Unparsable { .. } => Fault::Caller,
        }
    }
}

/// The Registry as the API server has it now; `None` when it is gone or being deleted. The watch may lag behind the
/// operator's last write: conditions computed from an old status would be written again.
///
/// # Errors
/// The request failed, or the Registry cannot be parsed.
pub async fn registry(client: &Client, subject: &Subject) -> Result<Option<Registry>, Error> {
    let reader = Reader {
        client,
        namespace: &subject.namespace,
    };
    let found: Option<DeserializeGuard<Registry>> = reader.get(subject.name.clone()).await?;
    match found {
        Some(DeserializeGuard(Ok(registry))) => {
            Ok(Some(registry).filter(|found| found.metadata.deletion_timestamp.is_none()))
        }
        Some(DeserializeGuard(Err(invalid))) => Err(Error::Unparsable {
            name: subject.name.clone(),
            problem: invalid.error,
        }),
        None => Ok(None),
    }
}

/// Fetches the objects that `registry` names and those under the names of its children.
///
/// # Errors
/// A request failed. An object that does not exist is no failure.
pub async fn facts(client: &Client, registry: &Registry, subject: &Subject) -> Result<Facts, Error> {
    let reader = Reader {
        client,
        namespace: &subject.namespace,
    };
    let names = Names::of(&subject.name);
    let named = references(&registry.spec);
    let claim = registry.spec.storage.persistent_volume_claim.as_ref();
    let claim_name = claim.and_then(|claim| claim.claim_name.clone());
    let (secrets, config_maps, named_claim, endpoints, existing) = futures_util::try_join!(
        reader.all(named.secrets),
        reader.all(named.config_maps),
        reader.all(claim_name),
        reader.labelled(format!("kubernetes.io/service-name={}", names.service())),
        reader.children(subject, &names),
    )?;
    Ok(Facts {
        now: Timestamp::now(),
        named: Named::of(&registry.spec),
        secrets,
        config_maps,
        named_claim: named_claim.into_values().next().flatten(),
        claim_can_grow: reader.claim_can_grow(existing.claim.ours()).await?,
        pods: reader.unready_pods(existing.deployment.ours(), &names).await?,
        existing,
        endpoints,
    })
}

struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Reader<'_> {
    async fn children(&self, subject: &Subject, names: &Names) -> Result<Children<Existing>, Error> {
        macro_rules! get_all {
            ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {{
                let ($($field,)*) = futures_util::try_join!($(self.get::<$kind>(names.$name()),)*)?;
                Children { $($field: Found::of($field, Lifetime::$lifetime, subject),)* }
            }};
        }
        Ok(for_each_child!(get_all))
    }

    async fn get<K>(&self, name: String) -> Result<Option<K>, Error>
    where
        K: Clone + Debug + DeserializeOwned + Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        api.get_opt(&name).await.map_err(|source| Error::Get {
            kind: K::kind(&()).into_owned(),
            name,
            source: Box::new(source),
        })
    }

    async fn all<K>(
        &self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<BTreeMap<String, Option<K>>, Error>
    where
        K: Clone + Debug + DeserializeOwned + Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let requests = names
            .into_iter()
            .map(async |name| Ok((name.clone(), self.get(name).await?)));
        Ok(try_join_all(requests).await?.into_iter().collect())
    }

    async fn labelled<K>(&self, label: String) -> Result<Vec<K>, Error>
    where
        K: Clone + Debug + DeserializeOwned + Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        match api.list(&ListParams::default().labels(&label)).await {
            Ok(list) => Ok(list.items),
            Err(source) => Err(Error::List {
                kind: K::kind(&()).into_owned(),
                label,
                source: Box::new(source),
            }),
        }
    }

    async fn unready_pods(&self, deployment: Option<&Deployment>, names: &Names) -> Result<Vec<Pod>, Error> {
        let wanted = deployment
            .and_then(|deployment| deployment.spec.as_ref()?.replicas)
            .unwrap_or(0);
        let ready = deployment
            .and_then(|deployment| deployment.status.as_ref()?.ready_replicas)
            .unwrap_or(0);
        if ready >= wanted {
            return Ok(Vec::new());
        }
        self.labelled(format!("{REGISTRY_LABEL}={}", names.label())).await
    }

    async fn claim_can_grow(&self, claim: Option<&PersistentVolumeClaim>) -> Result<Option<bool>, Error> {
        let Some(name) = claim.and_then(|claim| claim.spec.as_ref()?.storage_class_name.clone()) else {
            return Ok(None);
        };
        if name.is_empty() {
            return Ok(None);
        }
        let class: Option<StorageClass> = match cluster_object(self.client, name).await {
            // With rights in one namespace only, classes cannot be read. The API server then refuses what cannot grow.
            Err(Error::Get { source, .. }) if is_forbidden(&source) => None,
            other => other?,
        };
        Ok(class.map(|class| class.allow_volume_expansion.unwrap_or(false)))
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
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
