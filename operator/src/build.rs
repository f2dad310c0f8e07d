//! Third step: the objects a Registry becomes.
//!
//! Guarantees: pure; the same input gives the same objects, byte for byte; only what is asked for is in them, so that
//! server-side apply owns nothing else. One file per child kind. Must not: look at the cluster or decide whether
//! something is allowed, which `validate` has done.
//! Start at [`children`].

mod certificates;
mod claim;
mod config;
mod deployment;
mod ingress;
pub(crate) mod labels;
pub(crate) mod pod;
mod service;

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;

use crate::issue::Issued;
use crate::validate::ValidatedRegistry;

/// Objects as they should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Desired;

/// Objects as the API server has them after they were applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live;

/// Every object one Registry has. Adding a field fails to compile in `apply`.
///
/// `None` means that the Registry has no such object: one of an earlier pass is deleted, except what cannot be
/// rebuilt (HTTP secret, CA, claim), which stays.
#[derive(Clone)]
pub struct Children<Stage> {
    /// ServiceAccount of the Pods; no token is mounted.
    pub service_account: ServiceAccount,
    /// `config.yml` in the open.
    pub config_map: Option<ConfigMap>,
    /// `config.yml` with secrets in it.
    pub config_secret: Option<Secret>,
    /// Secret that signs upload states. Cannot be rebuilt.
    pub http_secret: Option<Secret>,
    /// The key of the CA. Mounted nowhere. Cannot be rebuilt.
    pub ca_key: Option<Secret>,
    /// What clients must trust.
    pub ca_bundle: Option<ConfigMap>,
    /// The server's certificate.
    pub server_certificate: Option<Secret>,
    /// The Ingress's certificate.
    pub edge_certificate: Option<Secret>,
    /// What the Ingress must trust.
    pub upstream_ca: Option<Secret>,
    /// The claim made from the template. Cannot be rebuilt.
    pub claim: Option<PersistentVolumeClaim>,
    /// Service.
    pub service: Service,
    /// Deployment.
    pub deployment: Deployment,
    /// Ingress.
    pub ingress: Option<Ingress>,
    /// `Desired`, then `Live`: `observe` accepts only the latter.
    pub stage: PhantomData<Stage>,
}

/// Deliberately without contents: there are Secrets among them.
impl<Stage> std::fmt::Debug for Children<Stage> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Children").finish_non_exhaustive()
    }
}

/// The objects of `registry`.
pub fn children(registry: &ValidatedRegistry, issued: &Issued) -> Children<Desired> {
    Children {
        service_account: pod::service_account(registry),
        config_map: config::config_map(registry),
        config_secret: config::config_secret(registry),
        http_secret: certificates::http_secret(registry, issued),
        ca_key: certificates::ca_key(registry, issued),
        ca_bundle: certificates::ca_bundle(registry, issued),
        server_certificate: certificates::server(registry, issued),
        edge_certificate: certificates::edge(registry, issued),
        upstream_ca: certificates::upstream(registry, issued),
        claim: claim::claim(registry),
        service: service::service(registry),
        deployment: deployment::deployment(registry, issued),
        ingress: ingress::ingress(registry),
        stage: PhantomData,
    }
}

#[cfg(test)]
mod tests;
