//! Is an object with one of our names ours? What is not is never touched.
//!
//! What can be rebuilt is ours when its controller is a Registry of this name: this one, or an earlier one that was
//! deleted and whose objects the garbage collector has not reached yet. What cannot be rebuilt has no controller;
//! it is ours when it carries the label that names this Registry and the operator's mark.

use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::api::ObjectMeta;
use operator_api::{GROUP, REGISTRY_LABEL};

use super::Error;
use crate::names::Names;
use crate::read::Found;

/// Label and value by which the operator marks what it made.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "berth-operator");

/// Refuses the first object that is not ours.
pub(super) fn check(found: &Found, names: &Names, registry: &str, uid: &str) -> Result<(), Error> {
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
        authority,
        ca_bundle,
        server_certificate,
        edge_certificate,
        upstream_authority,
        claim,
        service,
        deployment,
        ingress,
    } = found;
    ours.rebuildable(service_account.as_ref())?;
    ours.rebuildable(config_map.as_ref())?;
    ours.rebuildable(config_secret.as_ref())?;
    ours.lasting::<Secret>(http_secret.as_ref())?;
    ours.lasting::<Secret>(authority.as_ref())?;
    ours.rebuildable(ca_bundle.as_ref())?;
    ours.rebuildable(server_certificate.as_ref())?;
    ours.rebuildable(edge_certificate.as_ref())?;
    ours.rebuildable(upstream_authority.as_ref())?;
    ours.lasting(claim.as_ref())?;
    ours.rebuildable(service.as_ref())?;
    ours.rebuildable(deployment.as_ref())?;
    ours.rebuildable(ingress.as_ref())
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
