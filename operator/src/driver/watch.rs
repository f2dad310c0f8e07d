//! The watches on objects other than Registries, whose changes start a reconcile.
//!
//! They fetch only the metadata of Secrets, ConfigMaps and claims, because `read` fetches the contents again: the
//! Secrets of a whole cluster are never in memory. Children are not filtered by generation: that would hide their
//! deletion.
//! Start at [`children`].

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt as _};
use operator_api::{REGISTRY_LABEL, Registry};

use crate::names::Names;
use crate::references::references;

/// Fails with a sentence where the kind does not exist. A watch would repeat 404 for ever.
pub(super) async fn definition_is_installed(
    registries: &Api<DeserializeGuard<Registry>>,
) -> anyhow::Result<()> {
    registries
        .list(&ListParams::default().limit(1))
        .await
        .map(drop)
        .context("cannot list Registries; is the definition installed (`kubectl apply -k config/crd`)?")
}

/// The namespaces to watch.
pub(super) struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    pub(super) fn new(client: &Client, namespace: Option<&str>) -> Self {
        Self {
            client: client.clone(),
            namespace: namespace.map(str::to_owned),
        }
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// Adds the watches on every kind of child, and on everything that a Registry names.
pub(super) fn children(
    controller: Controller<DeserializeGuard<Registry>>,
    scope: &Scope,
) -> Controller<DeserializeGuard<Registry>> {
    let all = watcher::Config::default;
    let ours = || watcher::Config::default().labels(REGISTRY_LABEL);
    let (secrets, config_maps) = (Lookup::new(&controller), Lookup::new(&controller));
    let (claims, endpoints) = (Lookup::new(&controller), Lookup::new(&controller));
    controller
        .owns(scope.api::<Deployment>(), ours())
        .owns(scope.api::<Service>(), ours())
        .owns(scope.api::<ServiceAccount>(), ours())
        .owns(scope.api::<Ingress>(), ours())
        .watches(scope.api::<PartialObjectMeta<Secret>>(), all(), move |secret| {
            secrets.registries(&secret, |registry, name| {
                references(&registry.spec).secrets.contains(name)
            })
        })
        .watches(scope.api::<PartialObjectMeta<ConfigMap>>(), all(), move |map| {
            config_maps.registries(&map, |registry, name| {
                references(&registry.spec).config_maps.contains(name)
            })
        })
        .watches(
            scope.api::<PartialObjectMeta<PersistentVolumeClaim>>(),
            all(),
            move |claim| {
                claims.registries(&claim, |registry, name| {
                    let claim = registry.spec.storage.persistent_volume_claim.as_ref();
                    claim.and_then(|claim| claim.claim_name.as_deref()) == Some(name)
                })
            },
        )
        // An EndpointSlice has the labels of its Service.
        .watches(
            scope.api::<PartialObjectMeta<EndpointSlice>>(),
            ours(),
            move |slice| endpoints.registries(&slice, |_, _| false),
        )
}

/// Finds the Registries that an object belongs to.
struct Lookup {
    registries: Store<DeserializeGuard<Registry>>,
}

impl Lookup {
    fn new(controller: &Controller<DeserializeGuard<Registry>>) -> Self {
        Self {
            registries: controller.store(),
        }
    }

    /// The Registries of the object's namespace whose label it has, or that name it.
    fn registries<K>(
        &self,
        object: &PartialObjectMeta<K>,
        named: impl Fn(&Registry, &str) -> bool,
    ) -> Vec<ObjectRef<DeserializeGuard<Registry>>>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let namespace = object.namespace();
        let name = object.name_any();
        let label = object.labels().get(REGISTRY_LABEL);
        self.registries
            .state()
            .iter()
            .filter(|registry| registry.namespace() == namespace)
            .filter(|registry| {
                label.is_some_and(|label| Names::of(&registry.name_any()).label() == label)
                    || registry.0.as_ref().is_ok_and(|registry| named(registry, &name))
            })
            .map(|registry| ObjectRef::from_obj(&**registry))
            .collect()
    }
}
