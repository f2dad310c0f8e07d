//! Fourth step: the objects a Registry becomes.
//!
//! Guarantees: pure; the same input gives the same objects, byte for byte; an object has only the fields that are asked
//! for, so that server-side apply owns no others; a child whose part of the spec is wrong stays as it is. One file
//! per kind. Must not: look at the cluster, or decide whether something is allowed, which `validate` has done.
//! Start at [`children`].

mod autoscaler;
mod certificates;
mod claim;
mod deployment;
mod disruption_budget;
mod documents;
mod ingress;
mod inputs;
mod live;
mod metadata;
mod network_policy;
mod optional;
mod pod;
mod ports;
mod service;
mod sources;

use kube::ResourceExt;

use kube::api::DynamicObject;

use crate::children::{Children, Desired, Want};
use crate::issue::Issued;
use crate::optional::OptionalKind;
use crate::validate::ValidatedRegistry;
use crate::validate::registry::IngressPart;
pub use documents::documents;
use sources::Sources;

/// The objects of `registry`. They all stay as they are when the Registry is paused or nothing could be issued.
pub fn children(registry: &ValidatedRegistry, issued: Option<&Issued>) -> Children<Desired> {
    match issued {
        Some(issued) if !registry.paused => children_of_the_spec(registry, issued),
        _ => Children::unchanged(),
    }
}

/// The objects that the spec asks for, also of a paused Registry.
pub fn children_of_the_spec(registry: &ValidatedRegistry, issued: &Issued) -> Children<Desired> {
    let workload = registry.workload.as_ref();
    let config = known(workload, |workload| inputs::config(registry, workload));
    let inputs = known(workload, |workload| {
        Some(inputs::inputs(registry, workload, issued))
    });
    let deployment = known(workload, |workload| {
        let sources = Sources {
            config: config.object().map(ResourceExt::name_any),
            inputs: inputs.object()?.name_any(),
            live: registry.names.live(),
        };
        Some(deployment::deployment(registry, workload, &sources))
    });
    let children = Children {
        http_secret: certificates::http_secret(registry, issued),
        ca_key: certificates::ca_key(registry, issued),
        ca_bundle: certificates::ca_bundle(registry, issued),
        ca_secret: certificates::ca_secret(registry, issued),
        server_certificate: certificates::server(registry, issued),
        edge_certificate: certificates::edge(registry, issued),
        upstream_ca: certificates::upstream_ca(registry, issued),
        network_policy: network_policy::network_policy(registry).into(),
        service_account: Want::Present(pod::service_account(registry)),
        live: live::live(registry, issued),
        config,
        inputs,
        claim: known(registry.storage.as_ref(), |storage| {
            claim::claim(registry, storage)
        }),
        service: Want::Present(service::service(registry)),
        deployment,
        disruption_budget: known(workload, |workload| {
            disruption_budget::disruption_budget(registry, workload)
        }),
        autoscaler: known(workload, |workload| autoscaler::autoscaler(registry, workload)),
        ingress: match (&registry.ingress, &registry.tls) {
            (IngressPart::NotWanted, _) => Want::Absent,
            (IngressPart::Right(ingress), Some(tls)) => {
                Want::Present(ingress::ingress(registry, ingress, tls))
            }
            (IngressPart::Wrong, _) | (IngressPart::Right(_), None) => Want::Unchanged,
        },
    };
    let pods_lag_behind = registry.overlap.is_some_and(|overlap| overlap.since.is_none());
    match workload {
        Some(_) if pods_lag_behind => children.keep_access(),
        Some(_) => children,
        None => children.keep_deployment(),
    }
}

/// The objects of kinds that a cluster may not have; `None` while they stay as they are.
pub fn optional(registry: &ValidatedRegistry) -> Option<Vec<(OptionalKind, DynamicObject)>> {
    (!registry.paused).then(|| optional_of_the_spec(registry))
}

/// The objects of such kinds that the spec asks for, also of a paused Registry.
pub fn optional_of_the_spec(registry: &ValidatedRegistry) -> Vec<(OptionalKind, DynamicObject)> {
    optional::objects(registry)
}

/// A child that is built from one part of the Registry: unchanged when that part is wrong.
fn known<P, K>(part: Option<P>, build: impl FnOnce(P) -> Option<K>) -> Want<K> {
    part.map_or(Want::Unchanged, |part| build(part).into())
}

#[cfg(test)]
mod tests;
