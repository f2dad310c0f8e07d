//! Fourth step: the API server's objects become those that were built.
//!
//! Guarantees: compares first, so that a pass that changes nothing writes nothing; what cannot be rebuilt is created
//! once and never overwritten; a field that is ours and was changed by somebody else is put back, a field that is not
//! ours is left alone; every write is about the object that was read, by its UID. Must not: decide what an object
//! should be, or touch one that `validate` has not found to be ours.
//! Start at [`children`].

mod compare;
mod writer;

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;

use crate::build::{Children, Desired, Live};
use crate::error::{Fault, fault_of};
use crate::observe::Rollout;
use crate::read::Found;
pub use writer::Writer;

/// Field manager of everything but the status.
pub const FIELD_MANAGER: &str = "berth-operator";

/// An object the API server did not take.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A write failed.
    #[error("cannot {verb} {kind} `{name}`")]
    Write {
        /// `create`, `apply` or `delete`.
        verb: &'static str,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Our own object could not be written as JSON. A bug.
    #[error("{kind} `{name}` cannot be written as JSON; please report this")]
    Bug {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Write { source, .. } => fault_of(source),
            Self::Bug { .. } => Fault::Permanent,
        }
    }
}

/// Brings every object up to date and returns them as the API server has them.
///
/// # Errors
/// The first write that failed; what was written stays, and the next pass goes on from there.
pub async fn children(
    writer: &Writer<'_>,
    want: Children<Desired>,
    found: &Found,
) -> Result<Children<Live>, Error> {
    let Children {
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
        stage: _,
    } = want;
    // What cannot be made again comes first: a certificate must never be stored before the ca_key that signed it,
    // or an interrupted pass would leave clients with one nobody vouches for.
    let http_secret = writer.keep(http_secret, found.http_secret.as_ref()).await?;
    let ca_key = writer.keep(ca_key, found.ca_key.as_ref()).await?;
    let ca_bundle = writer.converge_if(ca_bundle, found.ca_bundle.as_ref()).await?;
    let server_certificate = writer
        .converge_if(server_certificate, found.server_certificate.as_ref())
        .await?;
    let edge_certificate = writer
        .converge_if(edge_certificate, found.edge_certificate.as_ref())
        .await?;
    let upstream_ca = writer
        .converge_if(upstream_ca, found.upstream_ca.as_ref())
        .await?;
    // Then what a Pod needs to start, and the Deployment after it.
    let service_account = writer
        .converge(service_account, found.service_account.as_ref())
        .await?;
    let config_map = writer.converge_if(config_map, found.config_map.as_ref()).await?;
    let config_secret = writer
        .converge_if(config_secret, found.config_secret.as_ref())
        .await?;
    let claim = writer.converge_if(claim, found.claim.as_ref()).await?;
    let service = writer.converge(service, found.service.as_ref()).await?;
    let deployment = writer.converge(deployment, found.deployment.as_ref()).await?;
    // The Ingress last: a controller that sees it looks for the Service and the Secrets at once.
    let ingress = writer.converge_if(ingress, found.ingress.as_ref()).await?;

    // What is not asked for any more goes when no Pod can still need it. The claim, the ca_key and the HTTP secret
    // are not in this list: they stay.
    writer
        .remove_unless(ingress.is_some(), found.ingress.as_ref())
        .await?;
    if no_old_pods(&deployment) {
        writer
            .remove_unless(config_map.is_some(), found.config_map.as_ref())
            .await?;
        writer
            .remove_unless(config_secret.is_some(), found.config_secret.as_ref())
            .await?;
        writer
            .remove_unless(server_certificate.is_some(), found.server_certificate.as_ref())
            .await?;
        writer
            .remove_unless(edge_certificate.is_some(), found.edge_certificate.as_ref())
            .await?;
        writer
            .remove_unless(upstream_ca.is_some(), found.upstream_ca.as_ref())
            .await?;
        writer
            .remove_unless(ca_bundle.is_some(), found.ca_bundle.as_ref())
            .await?;
    }
    Ok(Children {
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
        stage: PhantomData,
    })
}

fn no_old_pods(deployment: &Deployment) -> bool {
    matches!(Rollout::of(deployment), Rollout::Complete)
}
