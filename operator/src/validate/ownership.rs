//! Is an object with one of our names ours? What is not is never touched.
//!
//! What can be rebuilt is ours when its controller is a Registry of this name: this one, or an earlier one that was
//! deleted and whose objects the garbage collector has not reached yet. What cannot be rebuilt has no controller;
//! it is ours when it carries the label that names this Registry and the operator's mark.
//!
//! Only names the Registry needs are looked at: a certificate of the user's may well be called `<registry>-tls`, and is
//! in nobody's way when `spec.tls.secret` names it. What is not ours is not deleted either, which `apply` sees to.

use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::api::ObjectMeta;
use operator_api::{GROUP, IngressTlsMode, REGISTRY_LABEL, RegistrySpec};

use super::Error;
use crate::names::Names;
use crate::read::Found;

/// Label and value by which the operator marks what it made.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "berth-operator");

/// Which of the objects that not every Registry has are needed.
#[derive(Clone, Copy)]
struct Needed {
    http_secret: bool,
    server_certificate: bool,
    edge_certificate: bool,
    upstream_ca: bool,
    provided_certificate: bool,
    config_in_secret: bool,
    claim: bool,
    ingress: bool,
}

impl Needed {
    fn of(spec: &RegistrySpec) -> Self {
        let tls = spec.tls.as_ref();
        let plain = tls.is_some_and(|tls| tls.disabled.is_some());
        let provided_certificate = tls.is_some_and(|tls| tls.secret.is_some());
        let ingress = spec.ingress.as_ref();
        let edge = ingress.map(|ingress| ingress.tls.clone().unwrap_or_default());
        let passthrough = |mode| mode == Some(IngressTlsMode::Passthrough);
        let claim = spec.storage.persistent_volume_claim.as_ref();
        Self {
            http_secret: spec
                .http
                .as_ref()
                .is_none_or(|http| http.secret_key_ref.is_none()),
            server_certificate: !plain && !provided_certificate,
            edge_certificate: edge
                .as_ref()
                .is_some_and(|tls| !passthrough(tls.mode) && tls.secret_name.is_none()),
            upstream_ca: edge.is_some_and(|tls| !plain && !passthrough(tls.mode)),
            provided_certificate,
            config_in_secret: !spec.config_from.is_empty(),
            claim: claim.is_some_and(|claim| claim.template.is_some()),
            ingress: ingress.is_some(),
        }
    }

    fn ca(self) -> bool {
        self.server_certificate || self.edge_certificate
    }

    fn ca_bundle(self) -> bool {
        self.ca() || self.provided_certificate
    }
}

/// Refuses the first object that is in the way: it has a name this Registry needs and is not ours.
pub(super) fn check(
    found: &Found,
    spec: &RegistrySpec,
    names: &Names,
    registry: &str,
    uid: &str,
) -> Result<(), Error> {
    let needed = Needed::of(spec);
    let ours = Ours {
        registry,
        uid,
        label: names.label(),
    };
    let Found {
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
    } = found;
    ours.rebuildable(service_account.as_ref())?;
    ours.rebuildable(config_map.as_ref().filter(|_| !needed.config_in_secret))?;
    ours.rebuildable(config_secret.as_ref().filter(|_| needed.config_in_secret))?;
    ours.lasting::<Secret>(http_secret.as_ref().filter(|_| needed.http_secret))?;
    ours.lasting::<Secret>(ca_key.as_ref().filter(|_| needed.ca()))?;
    ours.rebuildable(ca_bundle.as_ref().filter(|_| needed.ca_bundle()))?;
    ours.rebuildable(server_certificate.as_ref().filter(|_| needed.server_certificate))?;
    ours.rebuildable(edge_certificate.as_ref().filter(|_| needed.edge_certificate))?;
    ours.rebuildable(upstream_ca.as_ref().filter(|_| needed.upstream_ca))?;
    ours.lasting(claim.as_ref().filter(|_| needed.claim))?;
    ours.rebuildable(service.as_ref())?;
    ours.rebuildable(deployment.as_ref())?;
    ours.rebuildable(ingress.as_ref().filter(|_| needed.ingress))
}

struct Ours<'a> {
    registry: &'a str,
    uid: &'a str,
    label: &'a str,
}

impl Ours<'_> {
    fn rebuildable<K: Resource<DynamicType = ()>>(&self, object: Option<&K>) -> Result<(), Error> {
        self.check(object, |meta| {
            let controller = meta
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true));
            controller.is_some_and(|owner| {
                owner.uid == self.uid
                    || owner.kind == "Registry"
                        && owner.name == self.registry
                        && owner.api_version.split('/').next() == Some(GROUP)
            })
        })
    }

    fn lasting<K: Resource<DynamicType = ()>>(&self, object: Option<&K>) -> Result<(), Error> {
        self.check(object, |meta| {
            let label = |key: &str| {
                meta.labels
                    .as_ref()
                    .and_then(|labels| labels.get(key))
                    .map(String::as_str)
            };
            label(REGISTRY_LABEL) == Some(self.label) && label(MANAGED_BY.0) == Some(MANAGED_BY.1)
        })
    }

    fn check<K: Resource<DynamicType = ()>>(
        &self,
        object: Option<&K>,
        ours: impl Fn(&ObjectMeta) -> bool,
    ) -> Result<(), Error> {
        let Some(object) = object else { return Ok(()) };
        if ours(object.meta()) {
            return Ok(());
        }
        Err(Error::ForeignObject {
            kind: kind::<K>(),
            name: object.meta().name.clone().unwrap_or_default(),
        })
    }
}

/// The kinds we make are known when this is compiled, so their names are, too.
fn kind<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "Object",
    }
}
