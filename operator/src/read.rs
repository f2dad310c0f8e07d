//! First step: everything a pass needs to know, fetched from the API server.
//!
//! Guarantees: reads only, and only objects of the Registry's namespace (and the storage class of its claim); each is
//! fetched afresh, because a cache that lags behind our own writes makes controllers do things twice.
//! Start at [`facts`].

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
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use operator_api::{REGISTRY_LABEL, Registry};
use serde::de::DeserializeOwned;

use crate::error::{Fault, fault_of};
use crate::names::Names;
use crate::references::references;

/// What was found, at one moment.
#[derive(Clone)]
pub struct Facts {
    /// That moment.
    pub now: Timestamp,
    /// Secrets the Registry names; `None` where there is none.
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// ConfigMaps the Registry names; `None` where there is none.
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// The claim of `claimName`.
    pub named_claim: Option<PersistentVolumeClaim>,
    /// Whether the storage class of the made claim lets it grow; `None` without a class or a claim.
    pub claim_can_grow: Option<bool>,
    /// Objects with the names of the Registry's own, whoever they belong to.
    pub found: Found,
    /// Endpoints of the Service.
    pub endpoints: Vec<EndpointSlice>,
    /// The Pods, while not all of them are ready: why not is only to be seen there.
    pub pods: Vec<Pod>,
}

/// Objects with the names of the Registry's own, whoever they belong to.
#[derive(Clone, Default)]
pub struct Found {
    /// ServiceAccount of the Pods.
    pub service_account: Option<ServiceAccount>,
    /// `config.yml` in the open.
    pub config_map: Option<ConfigMap>,
    /// `config.yml` with secrets in it.
    pub config_secret: Option<Secret>,
    /// Secret that signs upload states.
    pub http_secret: Option<Secret>,
    /// The ca_key's key.
    pub ca_key: Option<Secret>,
    /// What clients must trust.
    pub ca_bundle: Option<ConfigMap>,
    /// The server's certificate.
    pub server_certificate: Option<Secret>,
    /// The Ingress's certificate.
    pub edge_certificate: Option<Secret>,
    /// What the Ingress must trust.
    pub upstream_ca: Option<Secret>,
    /// The made claim.
    pub claim: Option<PersistentVolumeClaim>,
    /// Service.
    pub service: Option<Service>,
    /// Deployment.
    pub deployment: Option<Deployment>,
    /// Ingress.
    pub ingress: Option<Ingress>,
}

/// Deliberately without contents: there are Secrets among them.
impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").finish_non_exhaustive()
    }
}

/// Deliberately without contents: there are Secrets among them.
impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").finish_non_exhaustive()
    }
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One object.
    #[error("cannot get {kind} `{name}`")]
    Get {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Objects by a label.
    #[error("cannot list each {kind} with label `{label}`")]
    List {
        /// Their kind.
        kind: String,
        /// The label.
        label: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Get { source, .. } | Self::List { source, .. } => fault_of(source),
        }
    }
}

/// Fetches what `registry` names and what carries the names of its objects.
///
/// # Errors
/// The first request that failed. A missing object is no failure.
pub async fn facts(
    client: &Client,
    registry: &Registry,
    namespace: &str,
    names: &Names,
) -> Result<Facts, Error> {
    let reader = Reader { client, namespace };
    let named = references(&registry.spec);
    let claim_name = registry
        .spec
        .storage
        .persistent_volume_claim
        .as_ref()
        .and_then(|c| c.claim_name.as_deref());
    let (
        secrets,
        config_maps,
        named_claim,
        endpoints,
        service_account,
        config_map,
        config_secret,
        http_secret,
        ca_key,
        ca_bundle,
        server_certificate,
        edge_certificate,
        upstream_ca,
        claim,
        service,
        deployment,
        ingress,
    ) = futures_util::try_join!(
        reader.all(named.secrets),
        reader.all(named.config_maps),
        async {
            match claim_name {
                Some(name) => reader.get(name.to_owned()).await,
                None => Ok(None),
            }
        },
        reader.labelled(format!("kubernetes.io/service-name={}", names.service())),
        reader.get(names.service_account()),
        reader.get(names.config()),
        reader.get(names.config()),
        reader.get(names.http_secret()),
        reader.get(names.ca_key()),
        reader.get(names.ca_bundle()),
        reader.get(names.server_certificate()),
        reader.get(names.edge_certificate()),
        reader.get(names.upstream_ca()),
        reader.get(names.claim()),
        reader.get(names.service()),
        reader.get(names.deployment()),
        reader.get(names.ingress()),
    )?;
    let claim_can_grow = reader.claim_can_grow(claim.as_ref()).await?;
    let pods = reader.pods(deployment.as_ref(), names).await?;
    Ok(Facts {
        now: Timestamp::now(),
        secrets,
        config_maps,
        named_claim,
        claim_can_grow,
        found: Found {
            service_account,
            config_map,
            config_secret,
            http_secret,
            ca_key,
            ca_bundle,
            server_certificate,
            edge_certificate,
            upstream_ca,
            claim,
            service,
            deployment,
            ingress,
        },
        endpoints,
        pods,
    })
}

/// The Registry as the API server has it now.
///
/// # Errors
/// The request failed. A missing Registry is no failure.
pub async fn registry(client: &Client, namespace: &str, name: &str) -> Result<Option<Registry>, Error> {
    Reader { client, namespace }.get(name.to_owned()).await
}

struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Reader<'_> {
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

    async fn pods(&self, deployment: Option<&Deployment>, names: &Names) -> Result<Vec<Pod>, Error> {
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
            // With rights in some namespaces only, classes cannot be seen; the API server then refuses what cannot grow.
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
