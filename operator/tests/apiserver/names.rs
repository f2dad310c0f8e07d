//! Names at the limits of what the API server takes: each Registry gets objects of its own, with valid names.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{Operator, create, registry, rolling_out};

#[tokio::test]
async fn names_of_any_length_and_form_have_objects_of_their_own() -> Result<()> {
    let cluster = Cluster::with_namespace("names-forms").await?;
    let operator = Operator::start(&cluster);
    let label = |length: usize| "n".repeat(length);
    let names = [
        "a".to_owned(),
        label(52),
        label(53),
        label(63),
        label(64),
        label(253),
        format!("{}.{}", "9".repeat(126), "b".repeat(126)),
        // Cut after 41 characters, these two end in dashes and a dot.
        format!("{}---{}", label(40), "x".repeat(30)),
        format!("{}.{}", label(41), "x".repeat(30)),
        "a.b".to_owned(),
        "a-b".to_owned(),
        "a-b.c".to_owned(),
        "0".to_owned(),
        "xn--bcher-kva.example".to_owned(),
    ];
    for name in &names {
        create(
            &cluster,
            &registry(name, json!({ "ingress": { "hosts": ["a.example"] } })),
        )
        .await?;
    }
    for name in &names {
        rolling_out(&cluster, name).await?;
    }
    let deployments = cluster.api::<Deployment>().list(&ListParams::default()).await?;
    let owners: BTreeSet<String> = deployments
        .iter()
        .flat_map(|deployment| deployment.owner_references())
        .map(|owner| owner.name.clone())
        .collect();
    ensure!(
        owners == names.iter().cloned().collect(),
        "each has one Deployment: {owners:?}"
    );
    let claims = cluster
        .api::<PersistentVolumeClaim>()
        .list(&ListParams::default())
        .await?;
    ensure!(claims.items.len() == names.len(), "{} claims", claims.items.len());
    operator.stop().await
}
